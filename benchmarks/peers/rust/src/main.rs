//! The Rust crate flowd, on one thread: the commands of `benchmarks/contract.py`.
//!
//! On: the ack after the handler, the claimer, which takes over what is idle for 30 s.
//! It has no fence, no renewal, no retry with a backoff and no timeout, and deletes nothing.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flowd::prelude::*;
use flowd::task::{ClaimerBuilder, Queue, QueueBuilder, Task};

const PRODUCERS: usize = 50;
const WARM_UP: usize = 10;
const FLUSH: Duration = Duration::from_millis(300);

#[derive(Clone, Debug, Job)]
struct Crawl {
    url: String,
    priority: u32,
    #[mapper(serialize = ser_tags, deserialize = de_tags)]
    tags: Vec<String>,
    assigned_to: Option<String>,
}

fn ser_tags(tags: &Vec<String>) -> Result<String, String> {
    Ok(tags.join(","))
}

fn de_tags(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split(',').map(String::from).collect())
}

fn crawl(number: usize, url: Option<String>) -> Task<Crawl> {
    let payload = Crawl {
        url: url.unwrap_or_else(|| format!("https://example.org/{number}")),
        priority: (number % 10) as u32,
        tags: vec!["a".into(), "b".into()],
        assigned_to: Some("someone".into()),
    };
    Task { id: "*".into(), payload }
}

fn clock(id: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(unsafe { libc::clock_gettime(id, &mut time) }, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn clocks() -> (f64, f64) {
    (clock(libc::CLOCK_MONOTONIC), clock(libc::CLOCK_PROCESS_CPUTIME_ID))
}

fn say(text: String) {
    println!("{text}");
    std::io::stdout().flush().unwrap();
}

fn say_since(first: (f64, f64)) {
    let last = clocks();
    say(format!(r#"{{"seconds": {}, "cpu": {}}}"#, last.0 - first.0, last.1 - first.1));
}

/// Counts the calls of the handler, and notes how long each job was on its way.
struct Meter {
    calls: AtomicUsize,
    first: Mutex<(f64, f64)>,
    waits: Mutex<Vec<f64>>,
}

static METER: Meter = Meter {
    calls: AtomicUsize::new(0),
    first: Mutex::new((0.0, 0.0)),
    waits: Mutex::new(Vec::new()),
};

impl Meter {
    /// Returns the answer once `wanted` jobs were handled.
    fn handled(&self, url: &str, wanted: usize, timed: bool) -> Option<String> {
        if timed {
            let sent: f64 = url.parse().unwrap();
            self.waits.lock().unwrap().push(clock(libc::CLOCK_MONOTONIC) - sent);
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if number == 1 {
            *self.first.lock().unwrap() = clocks();
        }
        if number != wanted {
            return None;
        }
        let (first, last) = (*self.first.lock().unwrap(), clocks());
        let mut answer =
            format!(r#"{{"seconds": {}, "cpu": {}"#, last.0 - first.0, last.1 - first.1);
        if timed {
            let mut waits = self.waits.lock().unwrap().split_off(wanted / WARM_UP);
            waits.sort_by(f64::total_cmp);
            let (median, p99) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
            answer += &format!(r#", "median": {median}, "p99": {p99}"#);
        }
        Some(answer + "}")
    }
}

async fn connect() -> anyhow::Result<redis::aio::MultiplexedConnection> {
    let url = std::env::var("BENCH_URL")?;
    // By default an answer is given up after half a second, and with it the jobs of a read
    // that blocks for longer: they would wait for the claimer.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(url)?;
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

/// A producer is a queue whose handler is never run.
macro_rules! producer {
    () => {
        Queue::new(QueueBuilder::new(
            "crawl",
            "crawlers",
            "producer",
            |_: Crawl| async { Ok::<(), String>(()) },
            connect().await?,
            connect().await?,
        ))
    };
}

async fn work(jobs: usize, concurrency: usize, timed: bool) -> anyhow::Result<()> {
    let handler = move |job: Crawl| async move {
        if let Some(answer) = METER.handled(&job.url, jobs, timed) {
            tokio::spawn(async move {
                tokio::time::sleep(FLUSH).await;
                say(answer);
                std::process::exit(0);
            });
        }
        Ok::<(), String>(())
    };
    let claimer = ClaimerBuilder::<Crawl, _, _, _>::new()
        .min_idle_time(30_000)
        .max_retries(3)
        .dlq_worker(|_: Crawl, _: usize| async { Ok::<(), String>(()) });
    let builder = QueueBuilder::new(
        "crawl",
        "crawlers",
        "worker",
        handler,
        connect().await?,
        connect().await?,
    );
    let queue = Queue::new(builder.block_timeout(2_000).max_concurrent_tasks(concurrency).claimer(claimer));
    queue.init().await?;
    say(r#"{"ready": true}"#.into());
    let _running = queue.run();
    std::future::pending().await
}

async fn produce(numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
    let mut queue = producer!();
    for number in numbers {
        queue.enqueue(crawl(number, None)).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).map_or(0, |text| text.parse().unwrap());
    // The second is the rate, for `paced`.
    let (jobs, concurrency) = (number(1), number(2));
    match arguments[0].as_str() {
        "about" => say(concat!(
            r#"{"versions": {"Rust crate flowd": "0.3"}, "imports": "", "guarantees": {"#,
            r#""survives_kill": true, "acked_after": true, "retries": true, "timeout": false, "#,
            r#""deliveries": true, "dead_letters": false}}"#
        )
        .into()),
        "produce" => {
            let first = clocks();
            produce(0..jobs).await?;
            say_since(first);
        }
        "together" => {
            // The crate's producer takes `&mut self`, so that each has its own connection.
            let each = jobs / PRODUCERS;
            let starts = (0..PRODUCERS).map(|n| produce(n * each..(n + 1) * each));
            let first = clocks();
            futures::future::try_join_all(starts).await?;
            say_since(first);
        }
        "bulk" => {
            let mut queue = producer!();
            let many: Vec<_> = (0..jobs).map(|n| crawl(n, None)).collect();
            let first = clocks();
            queue.enqueue_bulk(many).await?;
            say_since(first);
        }
        "work" | "latency" => work(jobs, concurrency, arguments[0] == "latency").await?,
        "paced" => {
            let mut queue = producer!();
            let first = clocks();
            for number in 0..jobs {
                let due = first.0 + number as f64 / concurrency as f64;
                let wait = due - clock(libc::CLOCK_MONOTONIC);
                tokio::time::sleep(Duration::from_secs_f64(wait.max(0.0))).await;
                let sent = clock(libc::CLOCK_MONOTONIC).to_string();
                queue.enqueue(crawl(number, Some(sent))).await?;
            }
            say_since(first);
        }
        other => anyhow::bail!("{other} is no command: see benchmarks/contract.py"),
    }
    Ok(())
}
