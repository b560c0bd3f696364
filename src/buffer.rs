//! Large, short-lived buffers.

/// Minimum size of an allocation that glibc always maps on its own. It keeps freed memory below this
/// size (at most 32 MiB, `M_MMAP_THRESHOLD_MAX` in mallopt(3)) for the thread that freed it.
const OWN_MAPPING_BYTES: usize = 33 << 20;

/// Minimum size for which a mapping is worth its cost.
const LARGE_BYTES: usize = 128 << 10;

/// An empty buffer with capacity for at least `items` items. A large one gets its own mapping, so
/// that its memory returns to the system when it is dropped; unused capacity takes address space only.
pub(crate) fn with_capacity<T>(items: usize) -> Vec<T> {
    let is_large = items * size_of::<T>() >= LARGE_BYTES;
    Vec::with_capacity(if is_large { items.max(OWN_MAPPING_BYTES / size_of::<T>()) } else { items })
}
