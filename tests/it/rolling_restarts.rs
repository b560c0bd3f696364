//! Servers behind a load balancer are restarted in turn; clients, which never retry, see no failure.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::eventually::when;
use crate::harness::proxy::Proxy;
use crate::harness::{Server, Workspace, assert_exactly, event, eventually};

/// Each server has an address of its own, so that no other program gets its port while it restarts.
fn server(host: &str) -> (Workspace, Server) {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("HOST", host).set("SHUTDOWN_DELAY", "1s").ready().start();
    (workspace, server)
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends events, each over a new connection, until `ends`; returns their IDs.
fn send_until(ends: &AtomicBool, proxy: &Proxy, sender: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let id = format!("{sender}-{}", ids.len());
        let response = proxy.event(&event(&id));
        assert!(response.starts_with("HTTP/1.1 202"), "{id}: {response}");
        ids.push(id);
    }
    ids
}

fn no_request_fails(network: &str, proxy: impl FnOnce(&Workspace, &[Server; 2]) -> Proxy) {
    let ((one, first), (two, second)) =
        (server(&format!("{network}.1")), server(&format!("{network}.2")));
    let mut servers = [first, second];
    let proxy = proxy(&one, &servers);
    let served = |server: &Server| {
        eventually("the server gets requests", || {
            let requests = "hooks_http_requests_total{route=\"/events\",status=\"202\"}";
            when(server.client.metric(requests), |requests| *requests > 0)
        });
    };
    let ends = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let (ends, proxy) = (&ends, &proxy);
        let senders: Vec<_> =
            (0..4).map(|sender| scope.spawn(move || send_until(ends, proxy, sender))).collect();
        let until_restarted = SetOnDrop(ends);
        servers.iter().for_each(served);
        for server in &mut servers {
            server.restart_in_place();
            served(server);
        }
        drop(until_restarted);
        senders
            .into_iter()
            .flat_map(|sender| sender.join().expect("no failure"))
            .collect::<Vec<_>>()
    });
    for server in &mut servers {
        server.stop();
    }
    assert_exactly(&[one.events(), two.events()].concat(), sent);
}

#[test]
fn no_request_fails_behind_nginx() {
    no_request_fails("127.0.16", |workspace, servers| {
        let lines = servers.each_ref().map(|server| {
            // nginx has no health checks: it takes the other server while a connection is refused.
            format!("server {} fail_timeout=1s;", server.client.address)
        });
        // A connection that the kernel completes while the port closes is reset, and its request was not read.
        let location = "proxy_http_version 1.1; proxy_set_header Connection ''; \
                        proxy_next_upstream error timeout non_idempotent;";
        Proxy::nginx(workspace, "nginx", &format!("{} keepalive 8;", lines.concat()), location)
    });
}

#[test]
fn no_request_fails_behind_haproxy() {
    no_request_fails("127.0.17", |workspace, servers| {
        Proxy::haproxy(workspace, &servers.each_ref().map(|server| server.client.address))
    });
}
