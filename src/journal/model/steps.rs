//! Random steps of the model test.

use std::path::Path;

use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) enum ModelStep {
    /// Append records with these ids and lengths of padding.
    Append(Vec<(u8, u16)>),
    /// Close the journal and open it again.
    Reopen,
    /// Crash while writing these records, with this many thousandths of their bytes written.
    Crash(Vec<(u8, u16)>, u16),
    /// Delete the `.keys` files of existing segments, as in a partial restore.
    LoseKeyFiles,
    /// Read all records and delete the delivered segments.
    Deliver,
    /// Damage the saved keys.
    DamageSavedKeys(Damage),
    /// Another program appends the first records to the JSON Lines file, half of them before and half
    /// after the server appends the second.
    External(Vec<(u8, u16)>, Vec<(u8, u16)>),
    /// Another program truncates the JSON Lines file to this many thousandths of its lines.
    Truncate(u16),
}

#[derive(Clone, Debug)]
pub(super) enum Damage {
    Delete,
    /// Keep this many thousandths of the bytes.
    Truncate(u16),
    /// Flip a bit at this many thousandths of the file.
    Flip(u16),
    /// Restore the content from before the previous damage.
    Older,
}

impl Damage {
    /// Damages a file. `older` has its content from before the previous damage.
    pub(super) fn apply(&self, path: &Path, older: &mut Vec<u8>) {
        let before = std::fs::read(path).unwrap_or_default();
        let part = |thousandths: u16| before.len() * usize::from(thousandths) / 1001;
        match *self {
            Self::Delete => {
                let _ = std::fs::remove_file(path);
            }
            Self::Truncate(left) => std::fs::write(path, &before[..part(left)]).unwrap(),
            Self::Flip(_) if before.is_empty() => {}
            Self::Flip(at) => {
                let mut damaged = before.clone();
                damaged[part(at)] ^= 0x10;
                std::fs::write(path, damaged).unwrap();
            }
            Self::Older => std::fs::write(path, &*older).unwrap(),
        }
        *older = before;
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::Delete),
        (0..=1000_u16).prop_map(Damage::Truncate),
        (0..=1000_u16).prop_map(Damage::Flip),
        Just(Damage::Older),
    ]
}

fn records() -> impl Strategy<Value = Vec<(u8, u16)>> {
    proptest::collection::vec((any::<u8>(), 0..20_000_u16), 1..12)
}

pub(super) fn steps() -> impl Strategy<Value = Vec<ModelStep>> {
    let step = prop_oneof![
        8 => records().prop_map(ModelStep::Append),
        2 => Just(ModelStep::Reopen),
        3 => (records(), 0..=1000_u16).prop_map(|(records, part)| ModelStep::Crash(records, part)),
        1 => Just(ModelStep::LoseKeyFiles),
        2 => Just(ModelStep::Deliver),
        3 => damage().prop_map(ModelStep::DamageSavedKeys),
        2 => (records(), records()).prop_map(|(theirs, ours)| ModelStep::External(theirs, ours)),
        1 => (0..=1000_u16).prop_map(ModelStep::Truncate),
    ];
    proptest::collection::vec(step, 1..25)
}
