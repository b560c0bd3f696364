//! Buffers of some megabytes that come and go.

/// From so many bytes on an allocation is a mapping of its own, whatever was freed before: glibc's
/// `malloc` keeps freed memory of up to 32 MiB for the thread that asks next, and most threads never do
/// (`M_MMAP_THRESHOLD` in mallopt(3)).
const OWN_MAPPING_BYTES: usize = 33 << 20;

/// Less is not worth a mapping.
const LARGE_BYTES: usize = 128 << 10;

/// A buffer for about so many items, whose memory goes back to the system with it. What it has room for
/// and does not use is address space, not memory.
pub(crate) fn of<T>(items: usize) -> Vec<T> {
    let is_large = items * size_of::<T>() >= LARGE_BYTES;
    Vec::with_capacity(if is_large { items.max(OWN_MAPPING_BYTES / size_of::<T>()) } else { items })
}
