//! Files as sources: their records and offsets, files that grow, and those that are not what they were.

mod histories;

use super::*;
use std::io::Write;

fn source(path: PathBuf, follow: bool) -> FileSource {
    FileSource { path, follow, keyed: false, last: None }
}

/// The lines that come within 300 ms. A look at the files is due.
fn all(reader: &mut FileReader) -> Vec<(i64, String)> {
    let mut lines = Vec::new();
    reader.next_look = Instant::now();
    for records in reader.poll(100, usize::MAX, Duration::from_millis(300)).unwrap() {
        for (i, offset) in records.offsets.iter().enumerate() {
            let value = records.values.get(i).unwrap();
            lines.push((*offset, String::from_utf8(value.to_vec()).unwrap()));
        }
    }
    lines
}

fn lines(pairs: &[(i64, &str)]) -> Vec<(i64, String)> {
    pairs.iter().map(|(offset, line)| (*offset, line.to_string())).collect()
}

/// Opens files whose reader has stopped at the end with `last`.
fn reopened(source: &FileSource, start: i64, last: Option<LastRecord>) -> Result<FileReader, String> {
    FileReader::open(&FileSource { last, ..source.clone() }, start).map_err(|error| error.to_string())
}

#[test]
fn files_that_change_under_a_reader_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let of = source(dir.path().join("p*"), true);
    write("p1", "1\n2\n");
    write("p2", "11\n12\n");
    let mut reader = FileReader::open(&of, 0).unwrap();
    assert_eq!(all(&mut reader).len(), 4);
    let last = reader.last().get(&0).copied();
    assert!(reopened(&of, 4, last).is_ok());
    // An earlier file grows: while it is followed, and before a restart.
    write("p1", "1\n2\n3\n");
    let failed = (0..20).find_map(|_| {
        std::thread::sleep(POLL_INTERVAL);
        reader.poll(9, usize::MAX, Duration::ZERO).err()
    });
    assert!(failed.unwrap().to_string().contains("grew by 2 bytes after a later file"));
    assert!(reopened(&of, 4, last).unwrap_err().contains("as line 4 of all files"));
    // The last file is replaced by one as long, is cut short, and is put back and grows.
    write("p1", "1\n2\n");
    write("p2", "11\n13\n14\n");
    assert!(reopened(&of, 4, last).unwrap_err().contains("was replaced"));
    write("p2", "11\n");
    assert!(reopened(&of, 4, last).unwrap_err().contains("cut short"));
    write("p2", "11\n12\n13\n");
    assert_eq!(all(&mut reopened(&of, 4, last).unwrap()), lines(&[(4, "13")]));
    // The line that was last is empty now.
    write("p2", "11\n\n\n");
    assert!(reopened(&of, 4, last).is_err());
    write("p2", "11\n12\n13\n");
    // States of earlier releases know no last record.
    assert!(reopened(&of, 4, None).is_ok());
    // Half a line that was read as a whole one, and completed afterwards.
    let half = source(dir.path().join("h"), false);
    write("h", "1\n{\"id\":2");
    let mut reader = FileReader::open(&half, 0).unwrap();
    assert_eq!(all(&mut reader).len(), 2);
    let last = reader.last().get(&0).copied();
    write("h", "1\n{\"id\":2}\n3\n");
    assert!(reopened(&half, 2, last).is_err());
}

#[test]
fn a_followed_file_that_is_cut_short_ends_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let of = source(dir.path().join("p"), true);
    std::fs::write(&of.path, "1\n2\n").unwrap();
    let mut reader = FileReader::open(&of, 0).unwrap();
    assert_eq!(all(&mut reader).len(), 2);
    std::fs::write(&of.path, "3\n").unwrap();
    let failed = (0..20).find_map(|_| {
        std::thread::sleep(POLL_INTERVAL);
        reader.poll(9, usize::MAX, Duration::ZERO).err()
    });
    assert!(failed.unwrap().to_string().contains("cut short or replaced"));
    // Another file under the same name, as log rotation leaves it.
    std::fs::write(&of.path, "1\n2\n").unwrap();
    let mut reader = FileReader::open(&of, 0).unwrap();
    assert_eq!(all(&mut reader).len(), 2);
    std::fs::rename(&of.path, dir.path().join("old")).unwrap();
    std::fs::write(&of.path, "1\n2\n3\n").unwrap();
    let failed = (0..20).find_map(|_| {
        std::thread::sleep(POLL_INTERVAL);
        reader.poll(9, usize::MAX, Duration::ZERO).err()
    });
    assert!(failed.unwrap().to_string().contains("was replaced by another file"));
}

/// Polls a reader whose next look at the directory is due.
fn poll_and_look(reader: &mut FileReader) -> Result<Vec<Records>, String> {
    reader.next_look = Instant::now();
    reader.poll(100, usize::MAX, Duration::ZERO).map_err(|error| error.to_string())
}

#[test]
fn a_followed_file_that_is_written_over_is_not_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let of = source(dir.path().join("p"), true);
    std::fs::write(&of.path, "1\n2\n").unwrap();
    let mut reader = FileReader::open(&of, 0).unwrap();
    assert_eq!(all(&mut reader).len(), 2);
    // The same lengths: a start would find the last line, 6, where it was read.
    std::fs::write(&of.path, "4\n5\n6\n").unwrap();
    assert!(poll_and_look(&mut reader).unwrap_err().contains("before byte 4"));
    // More than is kept of what was read.
    let mut text = "1234567\n".repeat(3 * TAIL_BYTES / 8);
    std::fs::write(&of.path, &text).unwrap();
    let mut reader = FileReader::open(&of, 0).unwrap();
    while !poll_and_look(&mut reader).unwrap().is_empty() {}
    text.push_str("8\n");
    std::fs::write(&of.path, &text).unwrap();
    assert_eq!(all(&mut reader).len(), 1);
    std::fs::write(&of.path, text.replace("67", "76") + "9\n").unwrap();
    assert!(poll_and_look(&mut reader).unwrap_err().contains("was written over"));
}

#[test]
fn of_a_long_line_the_last_bytes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let of = source(dir.path().join("p"), true);
    for length in [TAIL_BYTES - 1, TAIL_BYTES + 50, 10 * TAIL_BYTES] {
        let line = "0123456789".repeat(TAIL_BYTES);
        let mut text = format!("1\n{}\n", &line[..length]);
        std::fs::write(&of.path, &text).unwrap();
        let mut reader = FileReader::open(&of, 0).unwrap();
        assert_eq!(all(&mut reader).len(), 2);
        // Short lines come behind it, and what is kept is still what stands before the next.
        for _ in 0..8 {
            assert!(text.as_bytes().ends_with(&reader.tail), "a gap behind a line of {length}");
            assert!((TAIL_BYTES..=2 * TAIL_BYTES).contains(&reader.tail.len()), "{}", reader.tail.len());
            text.push_str(&"123\n".repeat(TAIL_BYTES / 8));
            std::fs::write(&of.path, &text).unwrap();
            while !poll_and_look(&mut reader).unwrap().is_empty() {}
        }
        assert!(reader.tail.capacity() <= 4 * TAIL_BYTES, "{}", reader.tail.capacity());
        std::fs::write(&of.path, text.replace('3', "4") + "9\n").unwrap();
        assert!(poll_and_look(&mut reader).unwrap_err().contains("was written over"));
    }
}

/// Puts a copy of a file in its place, which is another file with the same bytes; `later` seconds newer.
fn put_copy(path: &Path, later: u64) {
    let (copy, modified) = (path.with_extension("copy"), std::fs::metadata(path).unwrap().modified());
    std::fs::copy(path, &copy).unwrap();
    let file = File::options().write(true).open(&copy).unwrap();
    file.set_modified(modified.unwrap() + Duration::from_secs(later)).unwrap();
    std::fs::rename(&copy, path).unwrap();
}

#[test]
fn another_inode_number_is_another_file_if_it_is_open_or_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (first, last) = (dir.path().join("p1"), dir.path().join("p2"));
    let of = source(dir.path().join("p?"), true);
    let opened = || {
        std::fs::write(&first, "1\n").unwrap();
        std::fs::write(&last, "2\n").unwrap();
        let mut reader = FileReader::open(&of, 0).unwrap();
        assert_eq!(all(&mut reader), lines(&[(0, "1"), (1, "2")]));
        put_copy(&first, 0);
        assert!(poll_and_look(&mut reader).is_ok(), "the same length and time");
        reader
    };
    let mut reader = opened();
    put_copy(&first, 0);
    assert!(poll_and_look(&mut reader).is_ok(), "and again");
    put_copy(&first, 1);
    assert!(poll_and_look(&mut reader).unwrap_err().contains("was replaced by another file"));
    let mut reader = opened();
    put_copy(&last, 0);
    assert!(poll_and_look(&mut reader).unwrap_err().contains("was replaced by another file"));
}

#[test]
fn after_a_slow_look_the_files_are_left_alone_for_longer() {
    assert_eq!(pause_after(Duration::from_micros(10)), POLL_INTERVAL);
    assert_eq!(pause_after(Duration::from_millis(100)), Duration::from_secs(2));
    let dir = tempfile::tempdir().unwrap();
    let mut reader = FileReader::open(&source(dir.path().join("p*"), true), 0).unwrap();
    let began = Instant::now();
    assert!(poll_and_look(&mut reader).unwrap().is_empty());
    assert!(reader.next_look >= began + POLL_INTERVAL);
    // No look is due: the new file is not found.
    std::fs::write(dir.path().join("p1"), "1\n").unwrap();
    reader.next_look = Instant::now() + Duration::from_secs(3600);
    assert!(reader.poll(9, usize::MAX, Duration::ZERO).unwrap().is_empty());
    assert_eq!(all(&mut reader), lines(&[(0, "1")]));
}

#[test]
fn a_line_that_was_read_without_its_end_may_end_but_not_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let of = source(dir.path().join("p"), true);
    std::fs::write(&of.path, "1\n2").unwrap();
    let mut reader = FileReader::open(&of, 0).unwrap();
    reader.stop_at_end();
    assert_eq!(all(&mut reader), lines(&[(0, "1"), (1, "2")]));
    let last = reader.last().get(&0).copied();
    let append = |text: &str| {
        let mut file = std::fs::OpenOptions::new().append(true).open(&of.path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    // It is the line that the state has read, also for a reader that goes on from there.
    let mut ended = reopened(&of, 2, last).unwrap();
    let mut gone_on = reopened(&of, 2, last).unwrap();
    assert!(poll_and_look(&mut ended).unwrap().is_empty());
    append("\n3\n");
    assert!(all(&mut reader).is_empty(), "after the end");
    assert_eq!(all(&mut ended), lines(&[(2, "3")]));
    std::fs::write(&of.path, "1\n2").unwrap();
    append("1\n3\n");
    assert!(poll_and_look(&mut gone_on).unwrap_err().contains("line 2 of all files"));
    assert!(reopened(&of, 2, last).unwrap_err().contains("as line 2 of all files"));
}

#[test]
fn empty_lines_behind_the_last_record_are_still_empty_at_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let of = source(dir.path().join("p"), false);
    std::fs::write(&of.path, "1\n\n ").unwrap();
    let mut reader = FileReader::open(&of, 0).unwrap();
    assert_eq!(all(&mut reader), lines(&[(0, "1")]));
    let (position, last) = (reader.position(), reader.last().get(&0).copied());
    assert_eq!(position, 3);
    std::fs::write(&of.path, "1\n\n \n2\n").unwrap();
    assert_eq!(all(&mut reopened(&of, position, last).unwrap()), lines(&[(3, "2")]));
    std::fs::write(&of.path, "1\n\n 2\n").unwrap();
    assert!(reopened(&of, position, last).unwrap_err().contains("as line 3 of all files"));
}

#[test]
fn a_file_that_goes_before_it_is_read_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["p1", "p2"] {
        std::fs::write(dir.path().join(name), "1\n").unwrap();
    }
    let mut reader = FileReader::open(&source(dir.path().join("p*"), true), 0).unwrap();
    std::fs::remove_file(dir.path().join("p2")).unwrap();
    assert!(poll_and_look(&mut reader).unwrap_err().contains("p2"));
}

#[test]
fn lines_written_just_before_a_new_file_are_read_before_it() {
    const FILES: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let path = |file: usize| dir.path().join(format!("p{file:03}"));
    std::fs::write(path(0), "").unwrap();
    let mut reader = FileReader::open(&source(dir.path().join("p*"), true), 0).unwrap();
    let begun = Instant::now();
    let mut read = 0;
    std::thread::scope(|scope| {
        // A writer that has done with a file before it begins the next one.
        scope.spawn(|| {
            for file in 0..FILES {
                let mut open = std::fs::OpenOptions::new().append(true).open(path(file)).unwrap();
                open.write_all(b"line\n").unwrap();
                std::fs::write(path(file + 1), "").unwrap();
            }
        });
        while read < FILES && begun.elapsed() < Duration::from_secs(60) {
            for records in poll_and_look(&mut reader).unwrap() {
                read += records.len();
            }
        }
    });
    assert_eq!((read, reader.position()), (FILES, FILES as i64));
}

#[test]
fn files_are_one_partition_in_name_order() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("b.jsonl"), "3\n4").unwrap();
    std::fs::write(dir.path().join("a.jsonl"), "0\n\n2\r\n").unwrap();
    std::fs::write(dir.path().join("c.txt"), "no").unwrap();
    let source = source(dir.path().join("*.jsonl"), false);
    let mut reader = FileReader::open(&source, 0).unwrap();
    assert_eq!(all(&mut reader), lines(&[(0, "0"), (2, "2"), (3, "3"), (4, "4")]));
    assert!(all(&mut reader).is_empty() && reader.done());
    assert_eq!(reader.position(), 5);
    let mut reader = FileReader::open(&source, 3).unwrap();
    assert_eq!(all(&mut reader), lines(&[(3, "3"), (4, "4")]));
    let error = FileReader::open(&source, 6).unwrap_err().to_string();
    assert!(error.contains("has 5 lines, but the state has read 6"), "{error}");
}

#[test]
fn keyed_lines_are_split() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "{\"key\": {\"id\":1}, \"value\": {\"n\": 2}}\n{\"key\":\"x\",\"value\":null}\n{\"n\":2}\n";
    std::fs::write(dir.path().join("a"), lines).unwrap();
    let keyed = FileSource { keyed: true, ..source(dir.path().join("a"), false) };
    let records = FileReader::open(&keyed, 0).unwrap().poll(9, usize::MAX, Duration::ZERO).unwrap().remove(0);
    let of = |blobs: &schemas::Blobs| -> Vec<Option<String>> {
        blobs.iter().map(|blob| blob.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())).collect()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of(&records.keys), [some("{\"id\":1}"), some("\"x\""), None]);
    assert_eq!(of(&records.values), [some("{\"n\": 2}"), None, some("{\"n\":2}")]);
}

#[test]
fn batches_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "1\n2\n3\n").unwrap();
    let mut reader = FileReader::open(&source(dir.path().join("a"), false), 0).unwrap();
    assert_eq!(reader.poll(2, usize::MAX, Duration::ZERO).unwrap()[0].len(), 2);
    assert!(!reader.done());
    assert_eq!(reader.poll(2, usize::MAX, Duration::ZERO).unwrap()[0].offsets, [2]);
}

#[test]
fn a_followed_file_waits_for_the_end_of_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a-1");
    std::fs::write(&path, "0\n1").unwrap();
    let mut reader = FileReader::open(&source(dir.path().join("a-*"), true), 0).unwrap();
    assert_eq!(all(&mut reader), lines(&[(0, "0")]));
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"1\n").unwrap();
    assert_eq!(all(&mut reader), lines(&[(1, "11")]));
    std::fs::write(dir.path().join("a-2"), "2\n").unwrap();
    assert_eq!(all(&mut reader), lines(&[(2, "2")]));
    std::fs::write(dir.path().join("a-0"), "x\n").unwrap();
    assert!(poll_and_look(&mut reader).is_err());
}

#[test]
fn a_look_tells_whether_the_files_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let look = |path: &str, follow| source(dir.path().join(path), follow).look();
    for path in ["a-1", "a-*", "missing/a-1"] {
        assert!(look(path, false).is_err(), "{path}");
    }
    // A followed source waits for its files, but not for their directory, which cannot be listed.
    assert!(!look("a-1", true).unwrap() && !look("a-*", true).unwrap());
    assert!(look("missing/a-*", true).is_err());
    std::fs::write(dir.path().join("a-1"), "0\n").unwrap();
    for (path, follow) in [("a-1", false), ("a-*", false), ("a-1", true), ("a-*", true)] {
        assert!(look(path, follow).unwrap(), "{path}");
    }
    std::fs::create_dir(dir.path().join("a-2")).unwrap();
    for path in ["a-2", "a-*"] {
        assert!(look(path, true).unwrap_err().to_string().contains("a-2: is a directory"), "{path}");
    }
}

#[test]
fn mistakes_are_named() {
    let options = |pairs: &[(&str, &str)]| {
        FileSource::from_options(&pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect())
    };
    assert!(options(&[("path", "a/*/b")]).unwrap_err().to_string().contains("only in the name"));
    assert!(options(&[("path", "a"), ("follow", "yes")]).is_err());
    let missing = source(PathBuf::from("does/not/exist"), false);
    assert!(FileReader::open(&missing, 0).unwrap_err().to_string().contains("does/not/exist"));
}
