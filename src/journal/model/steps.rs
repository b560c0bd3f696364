//! What can happen to a journal, at random.

use std::path::Path;

use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Append records with these ids, each with that many bytes of padding.
    Append(Vec<(u8, u16)>),
    /// Close the journal in an orderly way, and open it again.
    Reopen,
    /// Die while these records are being written, so many thousandths of their bytes being there.
    Crash(Vec<(u8, u16)>, u16),
    /// Lose the `.keys` files of segments that are still there, as a restored copy may.
    LoseKeys,
    /// Read everything and let it be deleted.
    Deliver,
    /// Find the keys of the newest records in another state.
    Keys(Damage),
    /// Other programs append records to a file of JSON Lines, before and after some of ours.
    Foreign(Vec<(u8, u16)>, Vec<(u8, u16)>),
    /// Someone cuts a file of JSON Lines, so many thousandths of its lines being left.
    Cut(u16),
}

#[derive(Clone, Debug)]
pub(super) enum Damage {
    Delete,
    /// Keep so many thousandths of the file's bytes.
    Truncate(u16),
    /// Change the byte at so many thousandths of the file.
    Flip(u16),
    /// Put back what was there at the last damage of any kind.
    Older,
}

impl Damage {
    /// Of one file; `older` is what it had the last time.
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

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => records().prop_map(Step::Append),
        2 => Just(Step::Reopen),
        3 => (records(), 0..=1000_u16).prop_map(|(records, part)| Step::Crash(records, part)),
        1 => Just(Step::LoseKeys),
        2 => Just(Step::Deliver),
        3 => damage().prop_map(Step::Keys),
        2 => (records(), records()).prop_map(|(theirs, ours)| Step::Foreign(theirs, ours)),
        1 => (0..=1000_u16).prop_map(Step::Cut),
    ];
    proptest::collection::vec(step, 1..25)
}
