//! Names below the path of an export.
//!
//! ```text
//! data/date=2026-01-05/part-000000000001-000000000040.parquet    rows of epochs 1 to 40 (mode append)
//! changes/part-000000000001-000000000040.parquet                 changes of these epochs
//! current/epoch=40/part-00000.parquet                            the view at epoch 40
//! latest.json                                                    the newest copy of the view
//! _manifests/00000000000000000040.json                           the files of a step, by its epoch
//! _staging/PROCESS/                                              files that a process is writing
//! ```
//!
//! Partitions are named as Hive names them, so that every reader knows them; readers skip names that begin with `_`.

/// The folder of the manifests.
pub const MANIFESTS: &str = "_manifests";
/// The folder of files that are being written.
pub const STAGING: &str = "_staging";
/// The file that names the newest copy of a view.
pub const LATEST: &str = "latest.json";
/// The folders of rows, changes and copies.
pub const CONTENT: [&str; 3] = ["data", "changes", "current"];
/// Most bytes of a value in the name of a partition.
const VALUE_BYTES: usize = 200;
/// Bytes of a longer value that stand in front of its digest.
const PREFIX_BYTES: usize = 160;
/// The value of a partition whose column is NULL.
const NULL_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// The manifest of an epoch; names sort as epochs do.
pub fn manifest_path(epoch: u64) -> String {
    format!("{MANIFESTS}/{epoch:020}.json")
}

/// The epoch of a manifest; None for any other file.
pub fn manifest_epoch(path: &str) -> Option<u64> {
    path.strip_prefix(MANIFESTS)?.strip_prefix('/')?.strip_suffix(".json")?.parse().ok()
}

/// The name of a file with the rows of epochs `first` to `last`.
pub fn range_name(first: u64, last: u64) -> String {
    format!("part-{first:012}-{last:012}.parquet")
}

/// The epochs of a file that [`range_name`] names; None for any other file.
pub fn range_of(path: &str) -> Option<(u64, u64)> {
    let (_, name) = path.rsplit_once('/')?;
    let (first, last) = name.strip_prefix("part-")?.strip_suffix(".parquet")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// The folder of a copy of the view.
pub fn copy_folder(epoch: u64) -> String {
    format!("current/epoch={epoch}")
}

/// The epoch of the copy that a file belongs to; None for any other file.
pub fn copy_epoch(path: &str) -> Option<u64> {
    let (epoch, _) = path.strip_prefix("current/epoch=")?.split_once('/')?;
    epoch.parse().ok()
}

/// A file in a partition of a folder; an empty partition is the folder itself.
pub fn join_path(folder: &str, partition: &str, name: &str) -> String {
    if partition.is_empty() { format!("{folder}/{name}") } else { format!("{folder}/{partition}/{name}") }
}

/// Appends `name=value` to a partition. Bytes beside letters, digits, `_`, `-` and `.` are written as `%XX`; readers
/// undo that. Of a value that is longer than 200 bytes in that form the beginning stands there, and a digest of all
/// of it: no file system has longer names.
pub fn push_partition(partition: &mut String, name: &str, value: Option<&str>) {
    if !partition.is_empty() {
        partition.push('/');
    }
    push_escaped(partition, name);
    partition.push('=');
    match value {
        // An empty text would end in `=`, which Hive reads as NULL, too.
        None | Some("") => partition.push_str(NULL_VALUE),
        Some(value) => {
            let begin = partition.len();
            push_escaped(partition, value);
            if partition.len() - begin > VALUE_BYTES {
                let digest = schemas::digest(&[value.as_bytes()]);
                let mut cut = begin + PREFIX_BYTES;
                // Not within a `%XX`.
                cut -= partition[begin..cut]
                    .bytes()
                    .rev()
                    .take(2)
                    .position(|byte| byte == b'%')
                    .map_or(0, |at| at + 1);
                partition.truncate(cut);
                partition.push_str(&format!("..{digest:032x}"));
            }
        }
    }
}

fn push_escaped(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_-.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        assert_eq!(manifest_path(40), "_manifests/00000000000000000040.json");
        assert_eq!(manifest_epoch(&manifest_path(40)), Some(40));
        assert_eq!(manifest_epoch("_manifests/x.json"), None);
        let path = join_path("data", "date=2026-01-05", &range_name(1, 40));
        assert_eq!(path, "data/date=2026-01-05/part-000000000001-000000000040.parquet");
        assert_eq!(range_of(&path), Some((1, 40)));
        for other in ["data/part-1.parquet", "data/notes.txt", "data/part-a-b.parquet"] {
            assert_eq!(range_of(other), None, "{other}");
        }
        let path = join_path(&copy_folder(7), "", "part-00000.parquet");
        assert_eq!((path.as_str(), copy_epoch(&path)), ("current/epoch=7/part-00000.parquet", Some(7)));
    }

    #[test]
    fn partitions_are_named_as_hive_does() {
        let cases = [
            (Some("EUW1"), "p=EUW1"),
            (Some("a/b=c%"), "p=a%2Fb%3Dc%25"),
            (Some(".."), "p=.."),
            (Some("é"), "p=%C3%A9"),
            (Some(""), "p=__HIVE_DEFAULT_PARTITION__"),
            (None, "p=__HIVE_DEFAULT_PARTITION__"),
        ];
        for (value, expected) in cases {
            let mut partition = String::new();
            push_partition(&mut partition, "p", value);
            assert_eq!(partition, expected);
        }
        let named = |value: &str| {
            let mut partition = String::new();
            push_partition(&mut partition, "p", Some(value));
            partition
        };
        assert_eq!(named(&"x".repeat(200)), format!("p={}", "x".repeat(200)));
        for (unit, bytes) in [("x", 1), ("é", 6), ("aé", 7), ("abé", 8)] {
            let (one, other) = (named(&unit.repeat(201)), named(&unit.repeat(202)));
            assert!(one != other && one.len() <= 2 + 200, "{one}");
            let (prefix, digest) = one[2..].split_once("..").unwrap();
            assert!(prefix.len() > 160 - bytes && digest.len() == 32, "{one}");
            let escapes = prefix.match_indices('%').all(|(at, _)| at + 2 < prefix.len());
            assert!(escapes, "no escape is cut: {one}");
        }
        let mut partition = "a=1".to_owned();
        push_partition(&mut partition, "date", Some("2026-01-05"));
        assert_eq!(partition, "a=1/date=2026-01-05");
    }
}
