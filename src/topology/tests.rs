//! Tests of reading and refusing topologies: variables, texts of files, and options with their places.

use super::*;

#[test]
fn variables_are_read_as_shells_write_them() {
    let text = "# comment\n\nA=1\nexport B = \"two words\"\nC='x=y'\nD=\n";
    let variables = parse_variables(text).unwrap_or_default();
    let pairs: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(pairs, [("A", "1"), ("B", "two words"), ("C", "x=y"), ("D", "")]);
}

#[test]
fn a_line_that_is_no_variable_is_named() {
    assert_eq!(parse_variables("A=1\nB\n").unwrap_err().0, 2);
    assert!(parse_variables("1A=2").unwrap_err().1.contains("1A"));
}

#[test]
fn text_is_utf_8_with_or_without_a_mark() {
    assert_eq!(decode_text("\u{feff}é".as_bytes()), Ok("é".to_owned()));
    assert!(decode_text(b"\xff\xfea\0").unwrap_err().contains("UTF-16"));
    let latin = decode_text(b"SELECT 1\n-- caf\xe9").unwrap_err();
    assert!(latin.starts_with("line 2, column 7 has the byte 0xE9"), "{latin}");
}

/// The mistakes of a topology, as users see them.
fn mistakes(text: &str, variables: &Variables) -> Vec<String> {
    let files = [SqlFile { name: "t.sql".to_owned(), text: text.to_owned() }];
    match plan_topology(&files, variables, Network::Refused) {
        Ok(_) => Vec::new(),
        Err(error) => match error.downcast_ref::<SqlMistakes>() {
            Some(mistakes) => mistakes.found.iter().map(ToString::to_string).collect(),
            None => vec![error.to_string()],
        },
    }
}

#[test]
fn every_option_that_is_not_known_is_refused() {
    let text = "CREATE SOURCE x (a INT) WITH (connector = 'file', path = 'x', pth = 'y', folow = true) \
                    FORMAT PLAIN ENCODE JSON (unit = 's');";
    let told = mistakes(text, &Variables::only(&[]));
    let places = ["t.sql:1:63: source x: option pth:", "t.sql:1:74: source x: option folow:"];
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(places.iter().zip(&told).all(|(place, mistake)| mistake.starts_with(place)), "{told:?}");
    assert!(told[2].contains("option unit: is not known"), "{told:?}");
}

#[test]
fn options_of_a_sinks_key_are_read() {
    let sink = |options: &str| {
        let text = format!(
                "CREATE SOURCE s (a INT) WITH (connector = 'file', path = 's') FORMAT PLAIN ENCODE JSON;
                CREATE SINK k FROM s WITH (connector = 'kafka', topic = 'k', properties.bootstrap.server = 'b:1', key = 'a')
                FORMAT PLAIN ENCODE JSON KEY ENCODE {options};"
            );
        mistakes(&text, &Variables::only(&[]))
    };
    assert!(sink("AVRO (schema.registry = 'http://r')").is_empty());
    assert!(sink("JSON").is_empty());
    let wrong = sink("AVRO (schema.registy = 'http://r')");
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(
        wrong.iter().any(|mistake| mistake.starts_with("t.sql:3:59: sink k: option schema.registy:")),
        "{wrong:?}"
    );
    assert!(wrong.iter().any(|mistake| mistake.contains("option schema.registry: is required")), "{wrong:?}");
    assert!(sink("JSON (timestamp.unit = 's')")[0].contains("option timestamp.unit: is not known"));
}

#[test]
fn the_name_of_a_sinks_records_is_one_that_avro_allows() {
    let sink = |encode: &str| {
        let text = format!(
                "CREATE SOURCE s (a INT) WITH (connector = 'file', path = 's') FORMAT PLAIN ENCODE JSON;
                CREATE SINK k FROM s WITH (connector = 'kafka', topic = 'k', properties.bootstrap.server = 'b:1', key = 'a')
                FORMAT PLAIN {encode};"
            );
        mistakes(&text, &Variables::only(&[]))
    };
    let named =
        |name: &str| sink(&format!("ENCODE AVRO (schema.registry = 'http://r', record.name = '{name}')"));
    for good in ["Made", "com.example.Made", "_a.b2"] {
        assert_eq!(named(good), [] as [String; 0], "{good}");
    }
    for bad in ["", "a..b", ".a", "a.", "2a", "a-b", "a b"] {
        let told = named(bad);
        assert!(told.len() == 1 && told[0].contains("option record.name:"), "{bad}: {told:?}");
        assert!(told[0].contains("is no name of an Avro record"), "{told:?}");
    }
    for elsewhere in [
        "ENCODE JSON (record.name = 'a')",
        "ENCODE AVRO (schema.registry = 'http://r') KEY ENCODE AVRO (schema.registry = 'http://r', record.name = 'a')",
    ] {
        let told = sink(elsewhere);
        assert!(told.len() == 1 && told[0].contains("option record.name: is not known"), "{told:?}");
    }
}

#[test]
fn pseudonyms_need_text_and_a_long_key() {
    let sink = |options: &str, variables: &Variables| {
        let text = format!(
                "CREATE SOURCE s (a INT, b VARCHAR, u UUID, j JSONB) WITH (connector = 'file', path = 's') FORMAT PLAIN ENCODE JSON;
                CREATE SINK k FROM s WITH ({options}, connector = 'blackhole') FORMAT PLAIN ENCODE JSON;"
            );
        mistakes(&text, variables)
    };
    let key = Variables::only(&[("KEY", "0123456789abcdef0123456789abcdef"), ("SHORT", "hunter2hunter2")]);
    assert!(sink("pseudonyms = 'b', pseudonym.key = '${KEY}'", &key).is_empty());
    let refused = [
        ("pseudonyms = 'b'", "t.sql:2:44: pseudonyms without pseudonym.key\n  add pseudonym.key = '${HERALD"),
        ("pseudonym.key = '${KEY}'", "t.sql:2:44: pseudonym.key without pseudonyms"),
        ("pseudonyms = 'c', pseudonym.key = '${KEY}'", "t.sql:2:44: pseudonyms: there is no column c"),
        (
            "pseudonyms = 'a', pseudonym.key = '${KEY}'",
            "t.sql:2:44: pseudonyms: column a is INT, and only VARCHAR",
        ),
        ("pseudonyms = 'u', pseudonym.key = '${KEY}'", "CAST(u AS VARCHAR) AS u"),
        ("pseudonyms = 'j', pseudonym.key = '${KEY}'", "column j is JSONB"),
        (
            "pseudonyms = 'b', pseudonym.key = '${SHORT}'",
            "t.sql:2:62: sink k: option pseudonym.key: has fewer than 32",
        ),
    ];
    for (options, part) in refused {
        let told = sink(options, &key);
        assert!(told.len() == 1 && told[0].contains(part), "{options}: {told:?}");
        assert!(!told[0].contains("hunter2") && !told[0].contains("0123456789"), "{told:?}");
    }
    // A test needs no key: it has one of its own.
    let test = Variables::only(&[]).with_stand_ins();
    assert!(sink("pseudonyms = 'b', pseudonym.key = '${KEY}'", &test).is_empty());
}

#[test]
fn a_test_needs_no_variables() {
    let text = "CREATE SOURCE s (a INT) WITH (connector = 'kafka', topic = '${TOPIC:-t}', \
                    properties.bootstrap.server = '${SERVER}') FORMAT PLAIN ENCODE JSON;";
    let told = mistakes(text, &Variables::only(&[]));
    assert!(told[0].contains("variable SERVER is not set"), "{told:?}");
    assert!(mistakes(text, &Variables::only(&[]).with_stand_ins()).is_empty());
    let files = [SqlFile { name: "t.sql".to_owned(), text: text.to_owned() }];
    let stand_ins = Variables::only(&[]).with_stand_ins();
    assert_eq!(stand_ins.value_of("SERVER", &files).as_deref(), Some("SERVER"));
    assert_eq!(stand_ins.value_of("TOPIC", &files), None, "the default stands");
}

#[test]
fn a_name_comes_from_the_first_file_or_the_flag() -> Result<()> {
    let files = [PathBuf::from("some/match_analytics.sql"), PathBuf::from("b.sql")];
    assert_eq!(topology_name(None, &files)?, "match_analytics");
    assert_eq!(topology_name(Some("eu-1"), &files)?, "eu-1");
    for bad in ["", "..", "a/b", "a b", ".hidden"] {
        let error = topology_name(Some(bad), &files).unwrap_err();
        assert_eq!(crate::exit::code(&error), 2, "{bad}");
    }
    Ok(())
}
