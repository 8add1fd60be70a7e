//! Look-ups by key: they find what a query finds, in the same JSON, and tell mistakes in words.

use arrow::util::display::array_value_to_string;
use state::{Progress, Retention, SourceProgress};

use super::super::lookup::Lookups;
use super::*;

/// The row of a key in the view `v`, as JSON.
fn row_of(view: &View, values: &[&str]) -> Result<Option<String>> {
    let snapshot = view.reader.snapshot();
    let lookups = Lookups::read(&snapshot)?;
    let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    lookups.view("v").context("view v")?.row(&snapshot, &values)
}

#[test]
fn a_key_finds_the_row_that_a_query_finds() -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let all: Vec<Kind> = kinds().into_iter().filter(|kind| kind.data_type != DataType::Float64).collect();
    let mut found = 0;
    for _ in 0..20 {
        let (first, second) =
            (&all[random.random_range(0..all.len())], &all[random.random_range(0..all.len())]);
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..40));
        let columns =
            vec![numbers, random_column(&mut random, first, 40)?, random_column(&mut random, second, 40)?];
        let mut fields = vec![Field::new("n", DataType::Int64, false)];
        for (name, kind) in [("a", first), ("b", second)] {
            fields.push(Field::new(name, kind.data_type.clone(), true));
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let (view, held) = View::keyed(&rows, &[2, 1])?;
        let json = format::answer_text(&view.ask("SELECT * FROM v")?, OutputFormat::Json)?;
        for (at, line) in json.lines().skip(1).take(held.num_rows()).enumerate() {
            let (a, b) = (held.column(1), held.column(2));
            if a.is_null(at) || b.is_null(at) {
                continue;
            }
            let values = [array_value_to_string(b, at)?, array_value_to_string(a, at)?];
            let row = row_of(&view, &[&values[0], &values[1]])?;
            assert_eq!(row.as_deref(), Some(line.trim_end_matches(',')), "{values:?}");
            found += 1;
        }
    }
    assert!(found > 100, "{found}");
    Ok(())
}

#[test]
fn a_key_that_no_row_has_finds_none() -> Result<()> {
    let view = hours()?;
    assert_eq!(row_of(&view, &["KR", "3"])?.as_deref(), Some(r#"{"platform":"KR","hour":3,"n":3}"#));
    assert_eq!(row_of(&view, &["KR", "300"])?, None);
    assert_eq!(row_of(&view, &["kr", "3"])?, None);
    Ok(())
}

#[test]
fn mistakes_in_a_key_are_told() -> Result<()> {
    let view = hours()?;
    for (values, told) in [
        (&["KR"][..], "the key of view v is (platform, hour), and the path has 1 value"),
        (&["KR", "3", "4"], "write /v1/views/v/PLATFORM/HOUR"),
        (&[], "the path has 0 values"),
        (
            &["KR", "three"],
            "hour of the key of view v is INT: invalid input syntax for type integer: \"three\"",
        ),
        (&["KR", ""], "invalid input syntax for type integer: \"\""),
        (&["KR", "99999999999999999999"], "out of range"),
    ] {
        let error = row_of(&view, values).err().context("it fails")?;
        assert_eq!(code(&error), 2, "{values:?}: {error:#}");
        assert!(error.to_string().contains(told), "{values:?}: {error}");
    }
    let error = row_of(&super::ends::one_row(2)?, &["7"]).err().context("it fails")?;
    assert_eq!(code(&error), 2);
    assert!(error.to_string().contains("view v has no key by which a row is looked up"), "{error}");

    let column: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![0.5]));
    let doubles = RecordBatch::try_from_iter([("x", column)])?;
    let error = row_of(&View::keyed(&doubles, &[0])?.0, &["0.5"]).err().context("it fails")?;
    assert!(error.to_string().contains("is DOUBLE, whose equal values may be stored differently"), "{error}");

    let snapshot = view.reader.snapshot();
    let lookups = Lookups::read(&snapshot)?;
    assert!(lookups.view("herald.errors").is_none() && lookups.view("w").is_none());
    assert_eq!(lookups.unknown("elsewhere").to_string(), "there is no view elsewhere. The state has v");
    Ok(())
}

#[test]
fn a_row_past_its_retention_is_not_found() -> Result<()> {
    let times: ArrayRef = Arc::new(
        arrow::array::TimestampMicrosecondArray::from(vec![10_000_000, 20_000_000]).with_timezone("UTC"),
    );
    let rows = RecordBatch::try_from_iter([("ended", times)])?;
    let (entry, commit) = View::entry_of(&rows, &[0])?;
    let retention = Some(Retention { column: 0, marks: vec![("s".to_owned(), 5_000_000)] });
    let entry = CatalogueEntry { retention, ..entry };
    let source = SourceProgress { watermark_us: Some(16_000_000), ..SourceProgress::default() };
    let progress = Progress { sources: [("s".to_owned(), source)].into(), ..Progress::default() };
    let view = View::stored(entry, rows.schema(), Commit { progress, ..commit })?;
    assert_eq!(row_of(&view, &["1970-01-01 00:00:10"])?, None);
    let row = row_of(&view, &["1970-01-01T00:00:20Z"])?;
    assert_eq!(row.as_deref(), Some(r#"{"ended":"1970-01-01T00:00:20.000000Z"}"#));
    let served = format::answer_text(&view.ask("SELECT count(*) AS n FROM v")?, OutputFormat::Csv)?;
    assert_eq!(served, "n\n1\n");
    Ok(())
}
