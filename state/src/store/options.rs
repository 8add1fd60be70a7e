//! RocksDB's tuning and the bounds on its memory.
//!
//! Writes are one sorted, synced batch per epoch; reads are batched lookups, most of which miss (new keys) or
//! hit cached blocks, and long scans at a restart. Memory is bounded by `write_buffer_bytes` for all
//! memtables together and `block_cache_bytes` for blocks, indexes and filters together. Levels are compressed
//! with lz4, the last one with zstd. Only two background jobs run: the engine's workers need the cores.

use fail::fail_point;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, LogLevel, LruCacheOptions, Options,
};

use schemas::SALT_BYTES;

use crate::dead_letter::DeadLetterPolicy;
use crate::table::{DEAD_LETTER, FAMILIES, META, OUTBOX};

/// Options for opening a state.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// True if a missing state is created.
    pub create: bool,
    /// The topology that the state must belong to; None accepts any.
    pub topology: Option<String>,
    /// Bound on all memtables together.
    pub write_buffer_bytes: usize,
    /// Bound on cached blocks, indexes and filters together.
    pub block_cache_bytes: usize,
    /// Bound on the dead letter table.
    pub dead_letter_bytes: u64,
    /// The policy at that bound.
    pub dead_letter_policy: DeadLetterPolicy,
    /// Bound on the error table: rows beyond it are counted and not kept.
    pub error_bytes: u64,
    /// Bound on table files open at a time; they count against the descriptor limit of the process.
    pub open_files: i32,
    /// True if files are rewritten when persons are erased: then a list of the files, which has keys of theirs, is never
    /// older than the last change of them.
    pub erases: bool,
    /// The salt of the digests of erased persons, for a state that has none; None draws one.
    pub erasure_salt: Option<[u8; SALT_BYTES]>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            create: false,
            topology: None,
            write_buffer_bytes: 384 << 20,
            block_cache_bytes: 256 << 20,
            dead_letter_bytes: 1 << 30,
            dead_letter_policy: DeadLetterPolicy::DropOldest,
            error_bytes: 256 << 20,
            open_files: 256,
            erases: false,
            erasure_salt: None,
        }
    }
}

/// Least bytes of a shard of the cache of blocks. The filter of a file is one block of up to 2 MB: a shard that holds
/// only a few of them reads the same filters again and again.
const SHARD_BYTES: usize = 64 << 20;

/// Creates the cache of blocks, indexes and filters.
pub(crate) fn new_cache(bytes: usize) -> Cache {
    let shard_bits = (bytes / SHARD_BYTES).checked_ilog2().unwrap_or(0).min(6);
    let mut options = LruCacheOptions::default();
    options.set_capacity(bytes);
    options.set_num_shard_bits(shard_bits as i32);
    Cache::new_lru_cache_opts(&options)
}

/// Returns the options of the database as a whole.
pub(crate) fn database_options(options: &StoreOptions, create: bool) -> Options {
    let mut db = Options::default();
    db.create_if_missing(create);
    db.create_missing_column_families(create);
    db.set_max_background_jobs(2);
    db.set_db_write_buffer_size(options.write_buffer_bytes);
    // A start after a kill reads the whole log, and a family that is seldom written must not keep that of all others alive.
    db.set_max_total_wal_size((options.write_buffer_bytes as u64 / 3).max(64 << 20));
    if options.erases {
        // A manifest names the least and the greatest key of each file. Each change of the files begins a new one, without
        // those that are gone; RocksDB 11 would let it grow to six times its size first.
        db.set_max_manifest_file_size(1);
        db = with_option(db, "max_manifest_space_amp_pct=0");
    }
    // A start after a kill goes on with the memtables that it makes of the log.
    db = with_option(db, "avoid_flush_during_recovery=true");
    db.set_bytes_per_sync(1 << 20);
    db.set_max_open_files(options.open_files);
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(3);
    db.set_max_log_file_size(16 << 20);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db
}

/// Returns the families with their options, for the database as primary and as secondary.
pub(crate) fn family_descriptors(options: &StoreOptions, cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    let mut descriptors = Vec::with_capacity(FAMILIES.len());
    for name in FAMILIES {
        let family = match name {
            OUTBOX | DEAD_LETTER => queue_options(cache),
            META => common_options(cache, 4 << 20),
            _ => keyed_options(cache, options.write_buffer_bytes),
        };
        descriptors.push(ColumnFamilyDescriptor::new(name, family));
    }
    descriptors
}

/// Options for state tables: batched point lookups, sorted inserts, scans.
fn keyed_options(cache: &Cache, budget_bytes: usize) -> Options {
    let mut family = common_options(cache, (budget_bytes / 4).clamp(4 << 20, 96 << 20));
    family.set_max_write_buffer_number(4);
    family.set_level_zero_slowdown_writes_trigger(30);
    family.set_level_zero_stop_writes_trigger(60);
    family.set_target_file_size_base(64 << 20);
    family.set_max_bytes_for_level_base(256 << 20);
    // New keys are looked up in memtables too: a bloom filter saves the search in the skip list.
    family.set_memtable_prefix_bloom_ratio(0.02);
    family.set_memtable_whole_key_filtering(true);
    family
}

/// Options for queues: large values, written in key order, read once, deleted from the front. Most of the
/// outbox is deleted before its memtable is flushed.
fn queue_options(cache: &Cache) -> Options {
    let mut family = common_options(cache, 64 << 20);
    family.set_target_file_size_base(64 << 20);
    family
}

/// Returns true where a test looks for bytes in the files: they are not compressed then.
fn is_plain() -> bool {
    fail_point!("store.plain", |_| true);
    false
}

fn common_options(cache: &Cache, memtable_bytes: usize) -> Options {
    let mut family = hinted_options();
    family.set_write_buffer_size(memtable_bytes);
    let (none, fast, small) = match is_plain() {
        true => [DBCompressionType::None; 3].into(),
        false => (DBCompressionType::None, DBCompressionType::Lz4, DBCompressionType::Zstd),
    };
    // Flushed files are soon merged into the next level, and compressed there.
    family.set_compression_per_level(&[none, fast]);
    family.set_bottommost_compression_type(small);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(16 << 10);
    table.set_bloom_filter(10.0, false);
    table.set_whole_key_filtering(true);
    table.set_optimize_filters_for_memory(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(5);
    family.set_block_based_table_factory(&table);
    family
}

/// Options with an insertion hint per state table: a memtable filled in key order then inserts next to the
/// last key instead of searching from the top.
fn hinted_options() -> Options {
    with_option(Options::default(), "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.4")
}

/// Options with one more that has no setter, as RocksDB's text of it. Such ones only save time or space, so opening
/// continues without one that is not known.
fn with_option(mut options: Options, text: &str) -> Options {
    options.get_options_from_string(text).unwrap_or_else(|error| {
        tracing::warn!(%error, "the option {text} is not available");
        options
    })
}
