//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// Largest manifest or index. Registries accept up to 4 MiB (OCI distribution-spec, Pushing Manifests).
pub const MANIFEST_MAX_BYTES: u64 = 4 << 20;
/// Largest image configuration.
pub const CONFIG_MAX_BYTES: u64 = 4 << 20;
/// Entries of one list of an image configuration (variables, labels, history…).
pub const CONFIG_LIST_MAX: usize = 4096;
/// Indexes within indexes.
pub const INDEX_DEPTH_MAX: usize = 4;
/// Layers of one image: as many as overlayfs stacks (`OVL_MAX_STACK`).
pub const LAYERS_MAX: usize = 500;

/// Entries of one layer.
pub const ENTRIES_MAX: u64 = 8 << 20;
/// Bytes of the paths and attributes of one layer's folders, which are kept in memory until the layer's end.
pub const DIRECTORIES_MAX_BYTES: usize = 64 << 20;
/// Longest path within a layer (PATH_MAX of Linux, less its NUL).
pub const PATH_MAX_BYTES: usize = 4095;
/// Bytes of all extended headers (PAX, long names) before one entry.
pub const EXTENDED_HEADERS_MAX_BYTES: u64 = 1 << 20;
/// Pieces of one sparse file.
pub const SPARSE_SEGMENTS_MAX: usize = 64 << 10;
/// Symbolic links followed for one path, as the kernel does.
pub const LINKS_FOLLOWED_MAX: usize = 40;
/// Open folders remembered while unpacking one layer.
pub const OPEN_FOLDERS_MAX: usize = 32;
/// Nesting that is removed with one descriptor for each level; what is deeper is moved up first.
pub const REMOVE_DEPTH_MAX: usize = 64;

/// Pulls under way; further ones wait. Each holds its documents in memory.
pub const PULLS_MAX: usize = 64;
/// Pieces of a blob between the network and the inflating thread.
pub const FETCHED_PIECES_MAX: usize = 4;
/// Pieces of a layer's archive between the inflating and the unpacking thread.
pub const INFLATED_PIECES_MAX: usize = 2;
/// Bytes of one such piece.
pub const PIECE_BYTES: usize = 256 << 10;
/// Largest window that a zstd frame may ask for, as a power of two: what the reference decoder accepts by default.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// The niceness of a layer's threads (sched(7)), more than that of the others: these bring the bytes, and answer requests.
pub const LAYER_THREAD_NICENESS: i32 = 5;
/// Progress is told after so many more bytes of a layer.
pub const PROGRESS_STEP_BYTES: u64 = 256 << 10;

/// The largest image that is copied for each container, where no overlay can be mounted: its files, their bytes on disk
/// and the nesting of its folders, each of which needs descriptors while it is copied.
pub const COPY_ENTRIES_MAX: u64 = 1 << 20;
pub const COPY_MAX_BYTES: u64 = 32 << 30;
pub const COPY_DEPTH_MAX: usize = 128;

/// Archives that are loaded or saved at the same time; further ones wait.
pub const ARCHIVES_MAX: usize = 4;
/// Files of an archive of images, and bytes of all their names.
pub const ARCHIVE_ENTRIES_MAX: usize = 64 << 10;
pub const ARCHIVE_NAMES_MAX_BYTES: usize = 8 << 20;
/// Bytes of an archive that are read and passed on at once, and how many such pieces wait for who reads them.
pub const ARCHIVE_PIECE_BYTES: usize = 256 << 10;
pub const ARCHIVE_PIECES_MAX: usize = 4;

/// How long a layer that no image names is kept after its pull, for the next try of that pull.
pub const UNNAMED_LAYER_GRACE: Duration = Duration::from_secs(3600);
/// How often layers past their grace are looked for.
pub const COLLECT_INTERVAL: Duration = Duration::from_secs(600);
/// How old a measurement of a writable layer may be when it is asked for.
pub const USAGE_MAX_AGE: Duration = Duration::from_secs(10);

/// Files kept by `read_file`, and the largest of them.
pub const CACHED_FILES_MAX: usize = 128;
pub const CACHED_FILE_MAX_BYTES: usize = 64 << 10;

/// How long a database that another process has open is asked for again, and the pause between.
pub const DATABASE_IN_USE: Duration = Duration::from_secs(1);
pub const DATABASE_IN_USE_PAUSE: Duration = Duration::from_millis(2);

/// Memory that the database may use for its pages.
pub const DATABASE_CACHE_BYTES: usize = 1 << 20;
