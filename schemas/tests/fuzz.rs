//! Decoders and codecs tried on invalid bytes: the corpus and valid bytes, cut, swapped, repeated, nested and
//! flipped by seed.
//!
//! For any content of a record a decoder neither panics nor fails: the record becomes one row or one reject,
//! and its neighbours are decoded as without it. Damaged rows and outbox chunks are read with an error or
//! with any result, but never with a panic. `HERALD_FUZZ_SECONDS` is the duration of each test, `HERALD_SEED`
//! the first seed; a failure prints the seed and the bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{
    AvroDecoder, DebeziumDecoder, Decoded, Encoder, Form, JsonDecoder, JsonOptions, OutChunk, OutRecord,
    Records, Registry, RowCodec, jsonb_field,
};

const JSON: &str = include_str!("corpus/json.txt");
const DEBEZIUM: &str = include_str!("corpus/debezium.txt");

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Calls `attempt` with seed after seed for the duration of a test.
fn fuzz(name: &str, attempt: impl Fn(&mut ChaCha8Rng) -> Vec<u8>) {
    let (first, begun) = (number("HERALD_SEED", 1), Instant::now());
    let longest = Duration::from_secs(number("HERALD_FUZZ_SECONDS", 3));
    let mut seed = first;
    while begun.elapsed() < longest {
        let tried = catch_unwind(AssertUnwindSafe(|| attempt(&mut ChaCha8Rng::seed_from_u64(seed))));
        assert!(tried.is_ok(), "{name}: seed {seed}");
        seed += 1;
    }
    println!("{name}: {} tries from seed {first}", seed - first);
}

fn schema() -> SchemaRef {
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let position = DataType::Struct(
        vec![Field::new("x", DataType::Float64, true), Field::new("y", DataType::Int32, true)].into(),
    );
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("paid", DataType::Decimal128(10, 2), true),
        Field::new("at", zoned, true),
        Field::new("tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true),
        Field::new("pos", position, true),
        jsonb_field("raw", true),
    ]))
}

/// A mutation of valid bytes, from nearly valid to random.
fn mutate(bytes: &[u8], others: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(0..4) {
        let at = rng.random_range(0..=bytes.len());
        let upto = rng.random_range(at..=bytes.len().min(at + 16));
        match rng.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => drop(bytes.drain(at..upto)),
            2 => bytes.truncate(at),
            3 => {
                let piece = bytes[at..upto].to_vec();
                let times = rng.random_range(1..200);
                bytes.splice(at..at, piece.repeat(times));
            }
            4 => {
                let other = &others[rng.random_range(0..others.len())];
                let from = rng.random_range(0..=other.len());
                bytes.splice(at..at, other[from..].iter().copied());
            }
            5 => {
                let open = [&b"["[..], b"{\"a\":", b"(", b"\""][rng.random_range(0..4)];
                let times = rng.random_range(1..5000);
                bytes.splice(at..at, open.repeat(times));
            }
            6 => {
                let odd =
                    [&b"\xff\xfe"[..], b"\0", b"1e999", b"-", b"\\ud800", b"\xc3", b"9999999999999999999999"];
                bytes.splice(at..upto, odd[rng.random_range(0..odd.len())].iter().copied());
            }
            _ => bytes.extend((0..rng.random_range(0..20)).map(|_| rng.random::<u8>())),
        }
    }
    bytes
}

fn records(values: &[Vec<u8>]) -> Records {
    let mut records = Records::new(0);
    for (offset, value) in (0..).zip(values) {
        records.push(offset, None, None, Some(value));
    }
    records
}

/// Rows as JSON, by record; None for a record that was rejected.
fn rows(decoded: &Decoded, records: usize) -> Vec<Option<Vec<u8>>> {
    let written = Encoder::json(&decoded.batch.schema()).unwrap().encode(&decoded.batch).unwrap();
    let mut rows = vec![None; records];
    for (row, record) in decoded.rows.iter().enumerate() {
        assert!(rows[*record as usize].is_none(), "record {record} is two rows");
        rows[*record as usize] = Some(written.get(row).unwrap_or_default().to_vec());
    }
    for reject in &decoded.rejects {
        assert!(rows[reject.row as usize].is_none(), "record {} is a row and a reject", reject.row);
        assert!(!reject.message.is_empty());
    }
    assert_eq!(decoded.rows.len() + decoded.rejects.len(), records);
    rows
}

/// A mutated record between two others: these are decoded as they are alone.
fn alone_and_together(
    rng: &mut ChaCha8Rng,
    corpus: &[Vec<u8>],
    decode: &mut dyn FnMut(&Records) -> Decoded,
) -> Vec<u8> {
    let any = |rng: &mut ChaCha8Rng| corpus[rng.random_range(0..corpus.len())].clone();
    let (before, after) = (any(rng), any(rng));
    let mutant = mutate(&any(rng), corpus, rng);
    let alone: Vec<Option<Vec<u8>>> = [&before, &mutant, &after]
        .map(|value| rows(&decode(&records(std::slice::from_ref(value))), 1).remove(0))
        .into();
    let together = rows(&decode(&records(&[before, mutant.clone(), after])), 3);
    assert_eq!(together, alone, "{:?}", String::from_utf8_lossy(&mutant));
    mutant
}

fn corpus(text: &str) -> Vec<Vec<u8>> {
    text.lines().map(|line| line.as_bytes().to_vec()).collect()
}

#[test]
fn json_is_a_row_or_a_reject() {
    let corpus = corpus(JSON);
    fuzz("JSON", |rng| {
        let mut decoder = JsonDecoder::new(schema(), JsonOptions::default()).unwrap();
        alone_and_together(rng, &corpus, &mut |records| decoder.decode(records).unwrap())
    });
}

#[test]
fn debezium_is_a_row_or_a_reject() {
    let corpus = corpus(DEBEZIUM);
    let json = || Form::Json(JsonOptions::default());
    let columns = Arc::new(Schema::new(schema().fields()[..3].to_vec()));
    fuzz("Debezium", |rng| {
        let mut decoder = DebeziumDecoder::new(columns.clone(), vec![0], json(), json()).unwrap();
        alone_and_together(rng, &corpus, &mut |records| decoder.decode(records).unwrap())
    });
}

#[test]
fn avro_is_a_row_or_a_reject() {
    let batch = sample();
    let registry = Registry::in_memory();
    let writer = schemas::avro_schema(&batch.schema(), "herald.fuzz");
    let id = registry.register("fuzz-value", &writer).unwrap();
    let written = Encoder::avro(&batch.schema(), id).unwrap().encode(&batch).unwrap();
    let corpus: Vec<Vec<u8>> = written.iter().flatten().map(<[u8]>::to_vec).collect();
    fuzz("Avro", |rng| {
        let stop = Arc::new(AtomicBool::new(false));
        let mut decoder = AvroDecoder::new(batch.schema(), registry.clone(), stop).unwrap();
        // Another id would be requested from the registry and waited for.
        let keep = |mut mutant: Vec<u8>| {
            if mutant.len() >= 5 {
                mutant[1..5].copy_from_slice(&id.to_be_bytes());
            }
            mutant
        };
        let mutant = keep(mutate(&corpus[rng.random_range(0..corpus.len())], &corpus, rng));
        let all = [corpus[0].clone(), mutant.clone(), corpus[1].clone()];
        let together = rows(&decoder.decode(&records(&all)).unwrap(), 3);
        let alone = all
            .each_ref()
            .map(|value| rows(&decoder.decode(&records(std::slice::from_ref(value))).unwrap(), 1).remove(0));
        assert_eq!(together, alone);
        mutant
    });
}

fn sample() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MIN)]))),
        ("name", Arc::new(StringArray::from(vec![Some("Ann"), Some(""), None]))),
        ("x", Arc::new(Float64Array::from(vec![Some(-0.0), Some(f64::NAN), None]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(0), Some(1), None]).with_timezone("UTC"))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, of)| (name, of, true))).unwrap()
}

#[test]
fn damaged_rows_are_read_to_an_error_or_to_something() {
    let batch = sample();
    let codec = RowCodec::of(&batch.schema()).unwrap();
    let rows = codec.encode(batch.columns()).unwrap();
    let corpus: Vec<Vec<u8>> = rows.iter().map(<[u8]>::to_vec).collect();
    fuzz("packed rows", |rng| {
        let mutant = mutate(&corpus[rng.random_range(0..corpus.len())], &corpus, rng);
        let _ = codec.decode(std::iter::once(mutant.as_slice()));
        (0..=codec.columns()).for_each(|columns| drop(codec.prefix_len(&mutant, columns)));
        mutant
    });
}

#[test]
fn damaged_chunks_are_read_to_an_error_or_to_something() {
    let mut chunk = OutChunk::new();
    for at in 0..5_u8 {
        let (key, value) = ([at; 3], [at; 200]);
        let record = OutRecord { topic: "t", key: Some(&key), value: Some(&value), ..OutRecord::default() };
        chunk.push(&record);
    }
    let corpus = vec![chunk.into_bytes()];
    fuzz("outbox chunks", |rng| {
        let mutant = mutate(&corpus[0], &corpus, rng);
        if let Ok(read) = OutChunk::read(&mutant) {
            assert!(read.take(1_000_000).count() < 1_000_000, "it ends");
        }
        mutant
    });
}
