//! NEXMark's queries as circuits of dbsp, over files of events: `dbsp-nexmark QUERY DIR [--answer]`.
//!
//! DIR holds `person.jsonl`, `auction.jsonl` and `bid.jsonl`. The changes of a query are dropped; with `--answer` the rows
//! that they leave are printed, a JSON object a line.

mod answer;
mod feed;
mod job;
mod queries;
mod values;

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use answer::Answer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (query, dir, wants_answer) = match wanted.as_slice() {
        ["--queries"] => {
            println!("{}", queries::names().join(","));
            return Ok(());
        }
        [query, dir] => (query, dir, false),
        [query, dir, "--answer"] => (query, dir, true),
        _ => bail!("dbsp-nexmark QUERY DIR [--answer], or dbsp-nexmark --queries"),
    };
    let build = queries::find(query).with_context(|| format!("there are {}", queries::names().join(", ")))?;
    let mut job = build(Path::new(dir))?;
    if wants_answer {
        let mut answer = Answer::default();
        job.run(Some(&mut answer))?;
        let mut out = BufWriter::new(std::io::stdout().lock());
        answer.print(&mut out)?;
        out.flush()?;
    } else {
        job.run(None)?;
    }
    // The state need not be freed piece by piece.
    std::process::exit(0)
}
