//! The server as its clients see it.

use super::*;

#[test]
fn a_port_alone_is_a_port_of_the_loopback_interface() {
    assert_eq!(expand_address("8080"), "127.0.0.1:8080");
    assert_eq!(expand_address(":8080"), "127.0.0.1:8080");
    assert_eq!(expand_address("0.0.0.0:8080"), "0.0.0.0:8080");
    assert_eq!(expand_address("[::1]:80"), "[::1]:80");
}

fn listening(given: &str) -> Listening<'_> {
    Listening { flag: "--listen", given: Some(given), default: DEFAULT_ADDRESS }
}

#[test]
fn an_address_that_is_none_is_a_mistake() {
    let error = bind_address(&listening("nowhere")).unwrap_err();
    assert_eq!(crate::exit::code(&error), 2);
}

#[test]
fn what_the_flags_name_and_nobody_can_use_is_a_mistake() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let listen = Some(taken.local_addr()?.to_string());
    let nowhere = || Some(PathBuf::from("no/such/file"));
    let free = || Some("0".to_owned());
    for args in [
        ServeArgs { listen, ..ServeArgs::default() },
        ServeArgs { listen: free(), read_token_file: nowhere(), ..ServeArgs::default() },
        ServeArgs { listen: free(), admin_token_file: nowhere(), ..ServeArgs::default() },
        ServeArgs { listen: free(), tls_cert: nowhere(), tls_key: nowhere(), ..ServeArgs::default() },
    ] {
        let code = bind(&args).err().map(|error| crate::exit::code(&error));
        assert_eq!(code, Some(2), "{args:?}");
    }
    Ok(())
}

#[test]
fn a_view_is_listed_with_its_indexes() -> Result<()> {
    use crate::topology::{Network, Variables, plan_topology};
    let text = "CREATE SOURCE s (id VARCHAR, n BIGINT) WITH (connector = 'file', path = 's.jsonl') \
                FORMAT PLAIN ENCODE JSON; \
                CREATE MATERIALIZED VIEW v AS SELECT id, sum(n) AS n FROM s GROUP BY id; \
                CREATE INDEX v_by_n ON v (n, id); CREATE INDEX v_by_id ON v (id); \
                CREATE MATERIALIZED VIEW w AS SELECT id FROM s;";
    let file = dataflows::sql::SqlFile { name: "t.sql".to_owned(), text: text.to_owned() };
    let plan = plan_topology(&[file], &Variables::only(&[]), Network::Refused)?;
    let listed = views_json(&plan, 3, &[json!({"view": "v", "epoch": 3})]);
    let indexes = json!([{"name": "v_by_n", "columns": ["n", "id"]}, {"name": "v_by_id", "columns": ["id"]}]);
    assert_eq!((&listed["views"][0]["indexes"], &listed["views"][1]["indexes"]), (&indexes, &json!([])));
    assert_eq!((&listed["views"][0]["key"], &listed["views"][0]["epoch"]), (&json!(["id"]), &json!(3)));
    Ok(())
}

#[test]
fn off_listens_nowhere() {
    assert!(bind_address(&listening("off")).is_ok_and(|listener| listener.is_none()));
}

/// Asks a server of a topology that has not started yet.
fn asked(requests: &[&str]) -> Result<Vec<String>> {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let config = DriverConfig {
        plan: Arc::new(Plan::default()),
        name: "t".to_owned(),
        state_dir: PathBuf::from("no/such/state"),
        workers: 1,
        pace: crate::driver::budget::Pace::Fixed(std::time::Duration::from_millis(100)),
        once: false,
        close_windows: false,
        fresh: false,
        skip_lost_records: false,
        allow_gap: false,
        backfill: None,
        memory: crate::driver::budget::DEFAULT_BYTES,
    };
    let metrics = Arc::new(Metrics::new("t")?);
    let handle = DriverHandle::default();
    let lender = Lender::of(&handle);
    let served = Served::new(&config, &ServeArgs::default(), (handle, lender), metrics);
    let runtime = crate::run::create_runtime()?;
    let access = Access::new(&ServeArgs::default())?;
    runtime.spawn(serve(
        HttpListener {
            listener,
            tls: None,
            access,
            most: connections::DEFAULT_LIMIT,
            answering: Answering::default(),
        },
        served,
    ));
    let answers = requests.iter().map(|request| {
        let mut stream = std::net::TcpStream::connect(address)?;
        write!(stream, "{request} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    answers.collect()
}

#[test]
fn a_topology_that_starts_is_healthy_and_not_ready() -> Result<()> {
    let answers = asked(&[
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /v1/topology",
        "GET /v1/query?sql=SELECT%201",
        "GET /v1/query",
        "GET /v1/query?sql=SELECT%201&format=xml",
        "GET /nowhere",
        "GET /v1/views/v/k",
        "POST /v1/views/v/k",
        "GET /v1/subscribe/v",
        "GET /v1/subscribe/v?as_of=x",
        "GET /v1/subscribe/v?filter=x",
    ])?;
    let status: Vec<&str> = answers.iter().filter_map(|answer| answer.split(' ').nth(1)).collect();
    assert_eq!(
        status,
        ["200", "503", "200", "200", "503", "400", "400", "404", "503", "405", "503", "400", "400"]
    );
    assert!(answers[1].ends_with("starting\n"), "{}", answers[1]);
    assert!(answers[2].contains("herald_committed_epoch_number{topology=\"t\"} 0"), "{}", answers[2]);
    assert!(answers[3].contains(r#""name":"t""#), "{}", answers[3]);
    assert!(answers[4].contains(STARTING), "{}", answers[4]);
    Ok(())
}
