//! The journal of `postgres` storage: a directory of segments, each named by the position where it
//! begins, deleted behind the forwarder.
//!
//! Beside `N.seg`, once it is full, stands `N.keys`: its records' keys, which outlive it, so that
//! repeated events are known across restarts. Those of the segment that is still open are in
//! `active.keys`: see [`super::key_log`].

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::file::{AppendFile, LogError, write_whole};
use super::key_log::KeyLog;
use super::recent::Reading;
use super::window::{WINDOW_RECORDS, WINDOW_ROOM};
use super::{KeyOf, OpenError, lock, record};

/// When a segment is closed and the next begun, in bytes; less if the journal's limit is small.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Stands in a `.keys` file for a record that has no key because it is damaged.
const NO_KEY: u128 = 0;

/// A segment's place: positions count bytes from the journal's beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) base: u64,
    pub(super) len: u64,
    pub(super) records: u64,
    /// When everything in it, and something after it, was stored.
    delivered_at: Option<Instant>,
}

impl Segment {
    fn new(base: u64, len: u64) -> Self {
        Self { base, len, records: 0, delivered_at: None }
    }

    pub(super) fn end(self) -> u64 {
        self.base + self.len
    }
}

/// The segments that are there, and how far they are durable. Shared by writer, reader and trim.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    /// What the journal is called in the database.
    id: Mutex<String>,
    list: Mutex<VecDeque<Segment>>,
    /// How long a segment is kept once everything in it is stored.
    retention: Duration,
    /// Everything before it is stored.
    delivered: AtomicU64,
}

impl Segments {
    pub(super) fn list(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        // No code panics while it holds the lock, and no partial update is possible.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn id(&self) -> String {
        self.id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the journal a new identity, which survives a restart.
    pub(super) fn renew_id(&self) -> io::Result<()> {
        let id = new_id(&self.dir)?;
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
        Ok(())
    }

    pub(super) fn path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:020}.seg"))
    }

    fn keys_path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:020}.keys"))
    }

    /// Where the newest durable record ends.
    pub(super) fn end(&self) -> u64 {
        self.list().back().map_or(0, |segment| segment.end())
    }

    /// Bytes that are not known to be stored.
    pub(super) fn waiting_bytes(&self) -> u64 {
        let start = self.list().front().map_or(0, |segment| segment.base);
        self.end() - self.delivered.load(Ordering::Acquire).clamp(start, self.end())
    }

    /// Bytes in all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.list().iter().map(|segment| segment.len).sum()
    }

    /// Takes note that everything before `position` is stored, and deletes the segments for which
    /// that has been so for the retention time. The segment whose last record ends right at the
    /// position stays: that record proves to a database that this is the journal it knows.
    pub(super) fn trim(&self, position: u64) -> io::Result<()> {
        let now = Instant::now();
        self.delivered.store(position, Ordering::Release);
        for segment in self.list().iter_mut() {
            // Going back to an earlier position (a database restored from a backup) needs them all.
            segment.delivered_at =
                (segment.end() < position).then(|| segment.delivered_at.unwrap_or(now));
        }
        let expired = |delivered_at: Instant| now.duration_since(delivered_at) >= self.retention;
        let mut removed = false;
        while self.remove_oldest(expired)? {
            removed = true;
        }
        if removed { self.trim_keys() } else { Ok(()) }
    }

    /// Deletes the oldest segment if it has been delivered, and long enough ago; says if it did.
    fn remove_oldest(&self, long_enough: impl Fn(Instant) -> bool) -> io::Result<bool> {
        let mut list = self.list();
        let base = match list.front() {
            Some(Segment { base, delivered_at: Some(at), .. }) if long_enough(*at) => *base,
            _ => return Ok(false),
        };
        // Its keys must outlive it. Where they were lost, the writer is about to collect them anew.
        // A segment that someone else has deleted is in nobody's way.
        let there = self.path(base).try_exists()?;
        if list.len() == 1 || (there && !self.keys_path(base).try_exists()?) {
            return Ok(false);
        }
        if there {
            std::fs::remove_file(self.path(base))?;
        }
        list.pop_front();
        Ok(true)
    }

    /// Deletes the `.keys` files whose keys the window would have forgotten.
    fn trim_keys(&self) -> io::Result<()> {
        let oldest = self.list().front().map_or(0, |segment| segment.base);
        let mut newer = 0;
        for base in bases(&self.dir, "keys")?.into_iter().rev() {
            if newer >= WINDOW_RECORDS as u64 && base < oldest {
                std::fs::remove_file(self.keys_path(base))?;
            } else {
                newer += std::fs::metadata(self.keys_path(base))?.len() / 16;
            }
        }
        Ok(())
    }
}

/// The writer's end of the segments.
#[derive(Debug)]
pub(super) struct SegmentLog {
    segments: Arc<Segments>,
    active: AppendFile,
    /// The active segment's keys, for its `.keys` file.
    keys: Vec<u128>,
    key_log: KeyLog,
    segment_bytes: u64,
    bytes_max: u64,
    _lock: File,
}

impl SegmentLog {
    /// Opens the directory and takes its lock; moves a torn tail aside.
    pub(super) fn open(dir: &Path, bytes_max: u64, retention: Duration) -> Result<Self, OpenError> {
        let io = |error| OpenError::io(dir, error);
        std::fs::create_dir_all(dir).map_err(io)?;
        let lock = lock::acquire(&dir.join("lock"))?;
        let mut list = VecDeque::new();
        for base in bases(dir, "seg").map_err(io)? {
            let path = dir.join(format!("{base:020}.seg"));
            let len = std::fs::metadata(&path).map_err(|e| OpenError::io(&path, e))?.len();
            list.push_back(Segment::new(base, len));
        }
        // A journal without segments begins anew, whatever it was called before.
        let id = if list.is_empty() {
            list.push_back(Segment::new(0, 0));
            new_id(dir)
        } else {
            read_id(dir)
        };
        let active_at = list.len() - 1;
        let segments = Segments {
            dir: dir.to_owned(),
            id: Mutex::new(id.map_err(io)?),
            list: Mutex::default(),
            retention,
            delivered: AtomicU64::new(0),
        };
        let path = segments.path(list[active_at].base);
        let active = AppendFile::open(&path).map_err(|e| OpenError::io(&path, e))?;
        list[active_at].len = repair_tail(&active, &path).map_err(|e| OpenError::io(&path, e))?;
        *segments.list() = list;
        Ok(Self {
            segments: Arc::new(segments),
            active,
            keys: Vec::new(),
            key_log: KeyLog::new(dir.join("active.keys")),
            segment_bytes: SEGMENT_BYTES.min(bytes_max / 8).max(64 << 10),
            bytes_max,
            _lock: lock,
        })
    }

    pub(super) fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// Appends framed records and makes them durable.
    pub(super) fn append(&mut self, bytes: &[u8], keys: &[u128]) -> Result<u64, LogError> {
        // Something is always taken when nothing waits, so that no limit blocks the journal for good.
        let waiting = self.segments.waiting_bytes();
        if waiting > 0 && waiting + bytes.len() as u64 > self.bytes_max {
            return Err(LogError::Full(self.bytes_max));
        }
        // What is stored already makes room for what is new.
        while self.segments.bytes() + bytes.len() as u64 > self.bytes_max
            && self.segments.remove_oldest(|_| true)?
        {}
        let active = self.segments.list().back().copied();
        if active.is_some_and(|active| active.len >= self.segment_bytes) || !self.is_untouched()? {
            self.roll()?;
        }
        self.active.append(bytes)?;
        self.keys.extend_from_slice(keys);
        let mut list = self.segments.list();
        let active = list.back_mut().ok_or_else(|| {
            LogError::Fatal(io::Error::other("the journal has lost its active segment"))
        })?;
        self.key_log.add(self.active.inode(), active.len, bytes, keys);
        active.len += bytes.len() as u64;
        active.records += keys.len() as u64;
        Ok(active.end())
    }

    /// Whether the active segment is there as it was left. Where someone else's hand has cut or
    /// deleted it, its positions stay used; what was appended to it is read as damaged records.
    fn is_untouched(&self) -> io::Result<bool> {
        let found = self.active.file().metadata()?;
        let mut list = self.segments.list();
        let Some(active) = list.back_mut() else { return Ok(true) };
        let untouched = found.nlink() > 0 && found.len() == active.len;
        active.len = active.len.max(found.len());
        Ok(untouched)
    }

    /// Closes the active segment and begins the next.
    fn roll(&mut self) -> io::Result<()> {
        let Some(active) = self.segments.list().back().copied() else { return Ok(()) };
        if active.len == 0 {
            // Deleted before anything was in it.
            self.active = AppendFile::open(&self.segments.path(active.base))?;
            return Ok(());
        }
        write_keys(&self.segments.keys_path(active.base), &self.keys)?;
        self.active = AppendFile::open(&self.segments.path(active.end()))?;
        self.keys.clear();
        self.key_log.clear();
        self.segments.list().push_back(Segment::new(active.end(), 0));
        Ok(())
    }

    pub(super) fn key_log(&mut self) -> &mut KeyLog {
        &mut self.key_log
    }

    /// The keys of the newest records, newest first. Counts the records of each segment, and writes
    /// the `.keys` files that a crash or a restored copy left out.
    pub(super) fn recent_keys(&mut self, key_of: KeyOf) -> io::Result<Vec<u128>> {
        self.active.file().sync_all()?;
        let list: Vec<Segment> = self.segments.list().iter().copied().collect();
        let active = list[list.len() - 1];
        let mut newest_first = Vec::with_capacity(WINDOW_ROOM);
        let saved = self.key_log.open();
        let mut reading = Reading {
            log: &mut self.key_log,
            saved: &saved,
            key_of: |line: &[u8]| Some(record_key(line, key_of)),
            keys_max: usize::MAX,
            newest_first: &mut newest_first,
        };
        reading.read(self.active.file())?;
        self.keys = newest_first.iter().rev().copied().collect();
        for segment in &list {
            let records = if segment.base == active.base {
                self.keys.len()
            } else if let Some(records) = count_keys(&self.segments.keys_path(segment.base)) {
                records
            } else {
                self.mend_keys(segment.base, key_of)?.len()
            };
            let mut list = self.segments.list();
            if let Some(found) = list.iter_mut().find(|found| found.base == segment.base) {
                found.records = records as u64;
            }
        }
        for base in bases(&self.segments.dir, "keys")?.into_iter().rev() {
            if newest_first.len() >= WINDOW_RECORDS {
                break;
            }
            if base == active.base {
                // Written by a roll that a crash cut short; the segment itself has been read.
                continue;
            }
            let path = self.segments.keys_path(base);
            let keys = match read_keys(&path) {
                Err(_) if list.iter().any(|segment| segment.base == base) => {
                    self.mend_keys(base, key_of)?
                }
                Err(error) => {
                    tracing::warn!(
                        file = %path.display(), %error,
                        "unreadable; retries of the events it names may not be recognised here"
                    );
                    continue;
                }
                Ok(keys) => keys,
            };
            let wanted = WINDOW_RECORDS - newest_first.len();
            newest_first.extend(keys.into_iter().rev().take(wanted));
        }
        newest_first.truncate(WINDOW_RECORDS);
        newest_first.retain(|&key| key != NO_KEY);
        Ok(newest_first)
    }

    /// Writes a closed segment's `.keys` file anew, and returns what is in it.
    fn mend_keys(&self, base: u64, key_of: KeyOf) -> io::Result<Vec<u128>> {
        let keys = scan_keys(&self.segments.path(base), key_of)?;
        write_keys(&self.segments.keys_path(base), &keys)?;
        Ok(keys)
    }
}

/// Moves what follows the last line feed to a file beside the segment; returns the length left.
fn repair_tail(active: &AppendFile, path: &Path) -> io::Result<u64> {
    let (start, tail) = active.torn_tail()?;
    if tail.is_empty() {
        return Ok(start);
    }
    let aside = path.with_extension(format!("{start}.torn"));
    write_whole(&aside, &tail)?;
    active.file().set_len(start)?;
    active.file().sync_all()?;
    tracing::warn!(
        file = %path.display(), aside = %aside.display(), bytes = tail.len(),
        "the last record was torn by a crash before it was acknowledged; moved aside"
    );
    Ok(start)
}

fn read_id(dir: &Path) -> io::Result<String> {
    let id = std::fs::read_to_string(dir.join("id")).unwrap_or_default();
    match uuid::Uuid::parse_str(id.trim()) {
        Ok(id) => Ok(id.to_string()),
        Err(_) => new_id(dir),
    }
}

fn new_id(dir: &Path) -> io::Result<String> {
    let id = uuid::Uuid::new_v4().to_string();
    write_whole(&dir.join("id"), format!("{id}\n").as_bytes())?;
    Ok(id)
}

/// The positions in the names of the directory's files with that extension, ascending.
fn bases(dir: &Path, extension: &str) -> io::Result<Vec<u64>> {
    let mut bases = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let base = name.to_str().and_then(|name| name.split_once('.'));
        if let Some((base, found)) = base
            && found == extension
            && base.len() == 20
        {
            bases.extend(base.parse::<u64>());
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

fn scan_keys(path: &Path, key_of: KeyOf) -> io::Result<Vec<u128>> {
    let bytes = std::fs::read(path)?;
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    Ok(lines.split(|&byte| byte == b'\n').map(|line| record_key(line, key_of)).collect())
}

fn record_key(record: &[u8], key_of: KeyOf) -> u128 {
    record::verify(record).ok().and_then(key_of).unwrap_or(NO_KEY)
}

fn write_keys(path: &Path, keys: &[u128]) -> io::Result<()> {
    let mut bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    write_whole(path, &bytes)
}

/// How many keys a `.keys` file has, by its length alone; `None` if it has none that make sense.
fn count_keys(path: &Path) -> Option<usize> {
    let len = std::fs::metadata(path).ok()?.len();
    (len % 16 == 4).then_some(len as usize / 16)
}

fn read_keys(path: &Path) -> io::Result<Vec<u128>> {
    let bytes = std::fs::read(path)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the checksum does not fit");
    let (keys, checksum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if crc32c::crc32c(keys) != u32::from_le_bytes(*checksum) {
        return Err(damaged());
    }
    Ok(keys.as_chunks::<16>().0.iter().map(|key| u128::from_le_bytes(*key)).collect())
}
