//! The job of [`crate::peers`] in Herald alone: records of three sizes, few and many keys, alike and by Zipf's law, one and
//! two workers.
//!
//! Each combination of size, law and number of keys is a topic, which is read from its beginning, through Kafka and exactly
//! once, and beside it the limits: receiving its bytes, and reading and decoding it. Every answer is compared, key by key.
//!
//! ```text
//! herald-benches match [--events N] [--only SHAPE,..] [--keys N,..] [--laws alike,zipf] [--workers N,..] [--repeat N]
//!     [--json FILE] [--quick]
//! ```

use std::fmt::{self, Display};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::kafka::Kafka;
use crate::options::parse_number;
use crate::paths::Paths;
use crate::peers::games::{Answer, Games, Input, Law, Shape, fill_champions};
use crate::peers::report::{counted, spread_of};
use crate::peers::systems::{self, Place};
use crate::peers::{Run, answers, measure_limits, run_to_answer};
use crate::table::{load, machine, short};

/// Amounts to measure.
struct MatchOptions {
    /// Flat records of a topic.
    events: u64,
    shapes: Vec<Shape>,
    keys: Vec<u64>,
    laws: Vec<Law>,
    workers: Vec<u64>,
    repeat: usize,
    json: Option<PathBuf>,
}

/// Sizes by their names.
const SHAPES: [Shape; 3] = [Shape::Flat, Shape::Nested, Shape::Whole];
/// Laws by their names.
const LAWS: [(&str, Law); 2] = [("alike", Law::Alike), ("zipf", Law::Zipf)];

impl MatchOptions {
    fn parse(arguments: &[String]) -> Result<MatchOptions> {
        let mut options = MatchOptions {
            events: 1_000_000,
            shapes: SHAPES.to_vec(),
            keys: vec![10_000, 1_000_000, 10_000_000],
            laws: LAWS.map(|(_, law)| law).to_vec(),
            workers: vec![1, 2],
            repeat: 5,
            json: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => {
                    (options.events, options.keys, options.repeat) = (50_000, vec![10_000, 100_000], 1);
                }
                "--events" => options.events = parse_number(value()?)?,
                "--only" => options.shapes = value()?.split(',').map(shape_of).collect::<Result<_>>()?,
                "--keys" => options.keys = value()?.split(',').map(parse_number).collect::<Result<_>>()?,
                "--laws" => options.laws = value()?.split(',').map(law_of).collect::<Result<_>>()?,
                "--workers" => {
                    options.workers = value()?.split(',').map(parse_number).collect::<Result<_>>()?;
                }
                "--repeat" => options.repeat = parse_number(value()?)? as usize,
                "--json" => options.json = Some(PathBuf::from(value()?)),
                other => bail!(
                    "{other} is not known; there are --events N, --only flat,nested,whole, --keys N,.., --laws alike,zipf, \
                     --workers N,.., --repeat N, --json FILE and --quick"
                ),
            }
        }
        Ok(options)
    }

    /// Records of a shape: as many flat ones as were asked for, a tenth of nested ones, a hundredth of whole ones.
    fn records(&self, shape: Shape) -> u64 {
        let part = match shape {
            Shape::Flat => 1,
            Shape::Nested => 10,
            Shape::Whole => 100,
        };
        (self.events / part).max(100)
    }
}

fn shape_of(name: &str) -> Result<Shape> {
    let found = SHAPES.into_iter().find(|shape| shape.topic() == name);
    found.with_context(|| format!("{name} is not known; there are flat, nested and whole"))
}

fn law_of(name: &str) -> Result<Law> {
    let found = LAWS.into_iter().find(|(other, _)| *other == name);
    found.map(|(_, law)| law).with_context(|| format!("{name} is not known; there are alike and zipf"))
}

fn law_name(law: Law) -> &'static str {
    LAWS.into_iter().find(|(_, other)| *other == law).map_or("in turn", |(name, _)| name)
}

/// One topic and the runs over it.
struct Topic {
    law: Law,
    keys: u64,
    input: Input,
    /// Receiving its bytes alone, and reading and decoding it.
    limits: [Vec<Run>; 2],
    /// Herald's runs by number of workers.
    runs: Vec<(u64, Vec<Run>)>,
}

struct MatchReport {
    command: String,
    repeat: usize,
    topics: Vec<Topic>,
}

/// Measures all combinations and prints the table.
///
/// # Errors
/// When a run fails, or when an answer differs.
pub fn run(arguments: &[String]) -> Result<()> {
    let options = MatchOptions::parse(arguments)?;
    let paths = Paths::find()?;
    let kafka = Kafka::start(&paths)?;
    fill_champions(&kafka.bootstrap)?;
    let command = format!("herald-benches match {}", arguments.join(" ")).trim_end().to_owned();
    let mut report = MatchReport { command, repeat: options.repeat, topics: vec![] };
    for shape in &options.shapes {
        for law in &options.laws {
            for keys in &options.keys {
                report.topics.push(measure((&paths, &kafka), &options, (*shape, *law, *keys))?);
            }
        }
    }
    println!("{report}");
    if let Some(path) = &options.json {
        let json = format!("{:#}\n", report.to_json());
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Fills a topic, measures over it, and deletes it.
fn measure(
    (paths, kafka): (&Paths, &Kafka),
    options: &MatchOptions,
    (shape, law, keys): (Shape, Law, u64),
) -> Result<Topic> {
    let name = format!("{}-{}-{keys}", shape.topic(), law_name(law));
    eprintln!("filling {name} with {} records", options.records(shape));
    let games = Games::new(shape, keys, law);
    let (input, answer) = games.fill(&kafka.bootstrap, &name, options.records(shape))?;
    let runs = options.workers.iter().map(|workers| (*workers, vec![])).collect();
    let mut topic = Topic { law, keys, input, limits: [vec![], vec![]], runs };
    let place_of = |run: String| {
        let mut place = Place::new(&kafka.bootstrap, paths, shape, &format!("{name}-{run}"));
        place.input.clone_from(&name);
        place
    };
    // In turns, so that a busy minute is shared by all.
    for turn in 0..options.repeat {
        let limits = measure_limits(paths, &place_of(format!("limit-{turn}")), &input)?;
        for (all, run) in topic.limits.iter_mut().zip(limits) {
            all.push(run);
        }
        for (workers, runs) in &mut topic.runs {
            let place = place_of(format!("{workers}-{turn}"));
            let run = measure_herald((paths, &place), *workers, &answer)?;
            eprintln!("  {workers} workers: {:.2} CPU s, {:.2} s", run.cpu_s, run.wall_s);
            runs.push(run);
        }
    }
    // The topic and what else begins with its name.
    answers::delete_topics(&Place::new(&kafka.bootstrap, paths, shape, &name))?;
    Ok(topic)
}

fn measure_herald((paths, place): (&Paths, &Place), workers: u64, answer: &Answer) -> Result<Run> {
    let mut command = systems::herald(paths, place)?;
    command.args(["--listen", "off", "--workers", &workers.to_string()]);
    run_to_answer((paths, place), command, answer)
}

impl MatchReport {
    fn to_json(&self) -> Value {
        let shown = |runs: &[Run]| -> Vec<Value> {
            let figures =
                |run: &Run| json!({"cpu_s": run.cpu_s, "wall_s": run.wall_s, "peak_kib": run.peak_kib});
            runs.iter().map(figures).collect()
        };
        let topics = self.topics.iter().map(|topic| {
            let Input { shape, records, bytes, accepted } = topic.input;
            let runs =
                topic.runs.iter().map(|(workers, runs)| json!({"workers": workers, "runs": shown(runs)}));
            json!({"shape": shape.topic(), "law": law_name(topic.law), "keys": topic.keys, "records": records,
                "bytes": bytes, "accepted": accepted, "receive": shown(&topic.limits[0]),
                "decode": shown(&topic.limits[1]), "herald": runs.collect::<Vec<_>>()})
        });
        json!({"command": self.command, "machine": machine(), "load": load(), "version": env!("CARGO_PKG_VERSION"),
            "repeat": self.repeat, "topics": topics.collect::<Vec<_>>()})
    }
}

impl Display for MatchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}`\n", self.command)?;
        let version = env!("CARGO_PKG_VERSION");
        writeln!(
            f,
            "{}, load {} at the end; Herald {version}. Median of {}.",
            machine(),
            load(),
            counted(self.repeat)
        )?;
        writeln!(f, "Every answer was compared, key by key, and is right.\n")?;
        writeln!(
            f,
            "| records | bytes | keys | law | workers | CPU s | least-most | wall s | records/CPU s | receive | decode | peak MiB |"
        )?;
        writeln!(f, "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for topic in &self.topics {
            let Input { shape, records, bytes, .. } = topic.input;
            let of = format!("{} {}", short(records), shape.topic());
            let (size, keys, law) = (bytes / records.max(1), short(topic.keys), law_name(topic.law));
            let [receive, decode] =
                [0, 1].map(|at: usize| spread_of(&topic.limits[at], |run| run.cpu_s).median);
            for (workers, runs) in &topic.runs {
                let cpu = spread_of(runs, |run| run.cpu_s);
                let (wall, peak) =
                    (spread_of(runs, |run| run.wall_s), spread_of(runs, |run| run.peak_kib as f64 / 1024.0));
                let median = cpu.median.max(0.01);
                write!(f, "| {of} | {size} | {keys} | {law} | {workers} | {median:.2} |")?;
                write!(f, " {:.2}-{:.2} | {:.2} |", cpu.least, cpu.most, wall.median)?;
                write!(f, " {:.0} | {:.1}% |", records as f64 / median, 100.0 * receive / median)?;
                writeln!(f, " {:.1}% | {:.0} |", 100.0 * decode / median, peak.median)?;
            }
        }
        Ok(())
    }
}
