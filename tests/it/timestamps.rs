//! All forms of timestamps are stored as UTC with microseconds.

use serde_json::{Value, json};

use crate::harness::{Storage, Workspace, event, only};

both!(all_forms_are_stored_as_utc_microseconds);

fn all_forms_are_stored_as_utc_microseconds(storage: Storage) {
    let forms: [(Value, &str); 21] = [
        (json!("2026-11-23T09:00:00.123456+00:00"), "2026-11-23T09:00:00.123456Z"),
        (json!("2026-11-23 09:00:00.123456+00:00"), "2026-11-23T09:00:00.123456Z"),
        (json!("2026-11-23T09:00:00.123456Z"), "2026-11-23T09:00:00.123456Z"),
        (json!("2026-11-23T09:00:00.123456"), "2026-11-23T09:00:00.123456Z"),
        (json!("2026-11-23 09:00:00.123456"), "2026-11-23T09:00:00.123456Z"),
        (json!("2026-11-23T14:30:00.123456+05:30"), "2026-11-23T09:00:00.123456Z"),
        (json!("2026-11-22T23:00:00.123456-10:00"), "2026-11-23T09:00:00.123456Z"),
        (json!("2026-11-23T09:00:00.123456789Z"), "2026-11-23T09:00:00.123456Z"),
        (json!("2026-11-23T09:00:00.1Z"), "2026-11-23T09:00:00.100000Z"),
        (json!("2026-11-23T09:00:00Z"), "2026-11-23T09:00:00.000000Z"),
        (json!("2026-11-23T09:00Z"), "2026-11-23T09:00:00.000000Z"),
        (json!("2026-11-23"), "2026-11-23T00:00:00.000000Z"),
        (json!(1_795_424_400), "2026-11-23T09:00:00.000000Z"),
        (json!(1_795_424_400.5), "2026-11-23T09:00:00.500000Z"),
        (json!(1_795_424_400_123_i64), "2026-11-23T09:00:00.123000Z"),
        (json!(1_795_424_400_123.5), "2026-11-23T09:00:00.123500Z"),
        (json!(0), "1970-01-01T00:00:00.000000Z"),
        (json!(-1.5), "1969-12-31T23:59:58.500000Z"),
        (json!("1969-12-31T23:59:59.999999Z"), "1969-12-31T23:59:59.999999Z"),
        (json!("0001-01-01T00:00:00Z"), "0001-01-01T00:00:00.000000Z"),
        (json!("9999-12-31T23:59:59.999999Z"), "9999-12-31T23:59:59.999999Z"),
    ];
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let batch: Vec<Value> = forms
        .iter()
        .map(|(form, _)| {
            let mut event = event(&form.to_string());
            event["timestamp"] = form.clone();
            event
        })
        .collect();
    server.client.batch(&batch).expect(202);
    let events = workspace.settled(&server);
    for (form, utc) in forms {
        assert_eq!(only(&events, &form.to_string())["timestamp"], utc, "{form}");
    }
}
