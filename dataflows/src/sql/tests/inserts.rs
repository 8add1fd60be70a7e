//! Views that are declared once and filled by INSERTs, beside the same topology with UNION ALL.

use super::*;

/// Relations of two games, and a third one.
const GAMES: &str = "\
CREATE TABLE riot (match_id VARCHAR, ended_at TIMESTAMPTZ, seconds INT, players STRUCT<who VARCHAR, k INT>[], PRIMARY KEY (match_id), WATERMARK FOR ended_at AS ended_at - INTERVAL '1 hour') WITH (connector = 'kafka', topic = 'riot') FORMAT PLAIN ENCODE JSON;
CREATE TABLE halo (id VARCHAR, day DATE, length DECIMAL(8, 2), detail JSONB, PRIMARY KEY (id)) WITH (connector = 'kafka', topic = 'halo') FORMAT PLAIN ENCODE JSON;
";
const MODEL: &str = "CREATE MATERIALIZED VIEW matches (game VARCHAR, match_id VARCHAR, seconds DOUBLE, ended_at TIMESTAMPTZ, players STRUCT<who VARCHAR, k INT>[], detail JSONB);";
const RIOT: &str = "INSERT INTO matches (match_id, game, ended_at, seconds, players)
  SELECT match_id, 'lol', ended_at, seconds, players FROM riot WHERE seconds > 60;";
const HALO: &str = "INSERT INTO matches SELECT 'halo', id, length, day, NULL, detail FROM halo;";
const READERS: &str = "CREATE MATERIALIZED VIEW per_game AS SELECT game, count(*) AS n, sum(seconds) AS s FROM matches GROUP BY game;
CREATE SINK out AS SELECT game, n FROM per_game WITH (connector = 'blackhole', primary_key = 'game') FORMAT UPSERT ENCODE JSON;";

fn of_files(files: &[(&str, &str)]) -> Result<Plan, Vec<SqlError>> {
    let mut named = Vec::new();
    for (name, text) in files {
        named.push(SqlFile { name: (*name).to_owned(), text: (*text).to_owned() });
    }
    let no_file = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    compile(&named, &|_| None, &no_file, &|_| Ok(None))
}

fn whole(files: &[(&str, &str)]) -> Plan {
    of_files(files).unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

fn refused(files: &[(&str, &str)]) -> String {
    shown(&of_files(files).map(|_| ()).unwrap_err())
}

fn text_of(plan: &Plan) -> String {
    explain(plan, None, Form::Text).unwrap()
}

/// The columns of a view, as a statement declares them.
fn columns_of(plan: &Plan, view: usize) -> String {
    let schema = &plan.rels[plan.views[view].rel].schema;
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        format!("{} {}", field.name(), schemas::sql_type(field))
    };
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_declared_view_is_the_union_all_of_its_inserts() {
    // A NULL of an array of structs cannot be written in a query, so the oracle is without that column.
    let narrow = |text: &str| {
        let text = text.replace(", players STRUCT<who VARCHAR, k INT>[], detail", ", detail");
        text.replace(", seconds, players", ", seconds").replace("NULL, detail", "detail")
    };
    let union = "CREATE VIEW \"matches from riot\" AS
      SELECT 'lol' AS game, match_id, CAST(seconds AS DOUBLE) AS seconds, ended_at, CAST(NULL AS JSONB) AS detail
      FROM riot WHERE seconds > 60;
    CREATE VIEW \"matches from halo\" AS
      SELECT 'halo' AS game, id AS match_id, CAST(length AS DOUBLE) AS seconds, CAST(day AS TIMESTAMPTZ) AS ended_at, detail
      FROM halo;
    CREATE MATERIALIZED VIEW matches AS
      SELECT * FROM \"matches from riot\" UNION ALL SELECT * FROM \"matches from halo\";";
    let (model, riot, halo) = (narrow(MODEL), narrow(RIOT), narrow(HALO));
    let games = ("games.sql", GAMES);
    let found =
        whole(&[games, ("m.sql", &model), ("a/riot.sql", &riot), ("halo.sql", &halo), ("v.sql", READERS)]);
    let wanted = whole(&[games, ("u.sql", union), ("v.sql", READERS)]);
    // An operator that is one of an INSERT and of the union has the name of the INSERT.
    let unnamed = |plan| {
        text_of(plan).replace("[matches from riot]", "[matches]").replace("[matches from halo]", "[matches]")
    };
    assert_eq!(unnamed(&found), unnamed(&wanted));
    assert!(
        text_of(&found).contains("game = lol, match_id@0") && text_of(&found).contains("[matches from halo]")
    );
    let prints = |plan: &Plan| plan.views.iter().map(|view| fingerprint(plan, view.rel)).collect::<Vec<_>>();
    assert_eq!(prints(&found), prints(&wanted));
}

#[test]
fn a_declared_view_has_the_columns_of_its_declaration() {
    let plan = whole(&[("g.sql", GAMES), ("m.sql", MODEL), ("riot.sql", RIOT), ("halo.sql", HALO)]);
    assert_eq!(MODEL, format!("CREATE MATERIALIZED VIEW matches ({});", columns_of(&plan, 0)));
    assert_eq!(
        plan.views[0].definition,
        "SELECT game, match_id, seconds, ended_at, players, NULL AS detail\n\
         FROM (SELECT match_id, 'lol', ended_at, seconds, players FROM riot WHERE seconds > 60) \
         AS inserted (match_id, game, ended_at, seconds, players)\n\
         UNION ALL\n\
         SELECT game, match_id, seconds, ended_at, players, detail\n\
         FROM (SELECT 'halo', id, length, day, NULL, detail FROM halo) \
         AS inserted (game, match_id, seconds, ended_at, players, detail)"
    );
    // One INSERT is a view as well, and a constant has the type of its column, wherever it stands.
    let text = "CREATE MATERIALIZED VIEW c (a SMALLINT, b DECIMAL(9, 2), c DATE, d JSONB, e STRUCT<x INT>, f VARCHAR, g REAL);
        INSERT INTO c SELECT -1, 1.5, '2026-01-01', '{}', NULL, NULL, 2 FROM riot;
        INSERT INTO c (a, c, f) VALUES (1, '2026-01-02', NULL), (2, NULL, 'x'), (NULL, NULL, NULL);
        INSERT INTO c (f, a, b) (SELECT *, 7, 7 FROM (SELECT match_id FROM riot) AS q);";
    let plan = whole(&[("g.sql", GAMES), ("c.sql", text)]);
    assert_eq!(
        columns_of(&plan, 0),
        "a SMALLINT, b DECIMAL(9, 2), c DATE, d JSONB, e STRUCT<x INT>, f VARCHAR, g REAL"
    );
    // Names of selected columns may repeat.
    let one = "CREATE MATERIALIZED VIEW i (a INT, b INT); INSERT INTO i SELECT seconds, seconds FROM riot;
        INSERT INTO i SELECT *, seconds FROM (SELECT seconds FROM riot) AS q;
        INSERT INTO i SELECT * FROM (SELECT seconds FROM riot) AS q CROSS JOIN (SELECT seconds FROM riot) AS r;
        INSERT INTO i (a) SELECT count(*)::INT FROM riot GROUP BY match_id ORDER BY 1 LIMIT 3;";
    assert_eq!(columns_of(&whole(&[("g.sql", GAMES), ("i.sql", one)]), 0), "a INT, b INT");
}

#[test]
fn inserts_stand_in_any_file_and_in_any_order() {
    let readers = format!("CREATE INDEX by_game ON matches (game);\n{READERS}");
    let games = ("games.sql", GAMES);
    let (model, riot, halo) = (("model.sql", MODEL), ("riot.sql", RIOT), ("halo.sql", HALO));
    let wanted = text_of(&whole(&[games, model, riot, halo, ("v.sql", &readers)]));
    assert_eq!(text_of(&whole(&[games, riot, model, halo, ("v.sql", &readers)])), wanted);
    assert_eq!(text_of(&whole(&[games, riot, halo, model, ("v.sql", &readers)])), wanted);
    // An index may stand beside the declaration.
    let index = format!("{MODEL}\nCREATE INDEX by_game ON matches (game);");
    assert_eq!(text_of(&whole(&[games, ("model.sql", &index), riot, halo, ("v.sql", READERS)])), wanted);
    // Names go by the file and the number in it, and not by lines.
    let again = format!("\n\n{RIOT}\nCREATE VIEW between AS SELECT 1 AS one;\n{RIOT}");
    let plan = whole(&[games, model, ("b/riot.sql", &again), halo, ("c/riot.sql", RIOT)]);
    let owners: BTreeSet<&str> = plan.rels.iter().map(|rel| rel.owner.as_str()).collect();
    assert_eq!(
        owners.into_iter().filter(|owner| owner.starts_with("matches")).collect::<Vec<_>>(),
        ["matches", "matches from halo", "matches from riot", "matches from riot 2", "matches from riot 3"]
    );
}

#[test]
fn a_reader_in_front_of_an_insert_is_refused_with_both_places() {
    let games = ("games.sql", GAMES);
    let files =
        |readers| [games, ("m.sql", MODEL), ("riot.sql", RIOT), ("v.sql", readers), ("halo.sql", HALO)];
    assert_eq!(
        refused(&files(READERS)),
        "v.sql:1:89: matches is read here, before the INSERT INTO matches at halo.sql:1:1\n  \
         move this statement behind halo.sql:1:1: files are applied in the order given"
    );
    for (reader, column) in [
        ("CREATE SINK k FROM matches WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;", 20),
        ("CREATE VIEW w AS SELECT 1 AS one WHERE EXISTS (SELECT 1 FROM public.matches);", 69),
        ("CREATE VIEW w AS SELECT * FROM TUMBLE(matches, ended_at, INTERVAL '1 hour');", 39),
    ] {
        let told = refused(&files(reader));
        assert!(told.starts_with(&format!("v.sql:1:{column}: matches is read here, ")), "{told}");
        assert_eq!(told.lines().count(), 2, "{told}");
    }
    // A common table may have the name.
    whole(&files("CREATE VIEW w AS WITH matches AS (SELECT 1 AS one) SELECT one FROM matches;"));
    let told = refused(&[games, ("riot.sql", RIOT), ("v.sql", READERS), ("m.sql", MODEL)]);
    assert!(told.contains("matches is read here, before it is declared at m.sql:1:1\n"), "{told}");
}

#[test]
fn mistakes_that_follow_from_another_statement_are_not_told() {
    let games = ("games.sql", GAMES);
    let lines = |files: &[(&str, &str)]| refused(files).lines().filter(|line| !line.starts_with(' ')).count();
    // An INSERT with a mistake, one that does not parse, and a declaration that does not.
    let wrong = RIOT.replace("seconds > 60", "second > 60");
    assert_eq!(lines(&[games, ("m.sql", MODEL), ("riot.sql", &wrong), ("v.sql", READERS)]), 1);
    let broken = RIOT.replace("WHERE seconds", "WHERE");
    assert_eq!(lines(&[games, ("m.sql", MODEL), ("riot.sql", &broken), ("v.sql", READERS)]), 1);
    let model = MODEL.replace("game VARCHAR", "game VARCHR");
    assert_eq!(lines(&[games, ("m.sql", &model), ("riot.sql", RIOT), ("v.sql", READERS)]), 1);
    // The name is that of a table: the view is refused, and so is the INSERT.
    let table = GAMES.replace("TABLE riot", "TABLE matches");
    let told =
        refused(&[("games.sql", &table), ("m.sql", MODEL), ("i.sql", "INSERT INTO matches SELECT 'x';")]);
    assert!(
        told.contains("the name matches is used twice") && told.contains("matches is a table, "),
        "{told}"
    );
}
