//! How many requests an organization's dashboards cost once their rows have been read.
//!
//! Twenty agents have 1,500 executions each over 60 days, 2 % of them stuck in a transient state; three agents
//! are live. Each agent has two dashboards, which request all rows, the last seven days, or one status every
//! five seconds, in equal shares. Each agent is simulated alone, starting at its own time so that its renewals
//! are staggered against those of the others, and the requests of all are added up. There is no budget here:
//! `checks/long/organization.py` does the same over sockets, with one.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const AGENTS: u64 = 20;
const LIVE_AGENTS: u64 = 3;
const ROWS: u64 = 1_500;
const STUCK: [&str; 3] = ["in-progress", "queued", "call-disconnected"];
const ENDED: [&str; 5] = ["completed", "completed", "no-answer", "failed", "busy"];
const ASKS_EVERY: Duration = Duration::from_secs(5);
/// How many minutes are simulated; the first [`COLD_MINUTES`] are the cold start.
const MINUTES: usize = 14;
const COLD_MINUTES: usize = 3;
/// The longest time between two renewals of a scope.
const PERIOD: Duration = Duration::from_secs(525);
const GOLDEN: f64 = 0.618_033_988_75;

#[derive(Clone, Copy)]
enum Asks {
    All,
    Week,
    Status(&'static str),
}

const QUESTIONS: [Asks; 4] = [Asks::All, Asks::Week, Asks::Status("completed"), Asks::Status("failed")];

/// The number of requests of each kind in each minute.
type Counts = BTreeMap<(&'static str, usize), usize>;

/// One agent with its dashboards.
struct Agent {
    number: u64,
    began_at: Timestamp,
    rig: Rig,
    draw: StdRng,
}

impl Agent {
    fn new(number: u64) -> Self {
        let settings = EngineSettings {
            live_ttl: 10 * SECOND,
            settling_ttl: 120 * SECOND,
            settled_ttl: 300 * SECOND,
            ..settings()
        };
        let (rig, mut draw) = (Rig::new(settings, number), StdRng::seed_from_u64(number));
        for row in 0..ROWS {
            let ago = Duration::from_secs(draw.random_range(4 * 3_600..60 * 86_400));
            let statuses = if row * 50 < ROWS { &STUCK[..] } else { &ENDED[..] };
            rig.script.world().insert(NOW.minus(ago), statuses[draw.random_range(0..statuses.len())]);
        }
        Self { number, began_at: NOW, rig, draw }
    }

    async fn live_through(mut self, counts: &mut Counts) {
        // Staggers the renewals: those of one agent's scope always come at the same time in its period.
        tokio::time::sleep((PERIOD * self.number as u32).mul_f64(GOLDEN)).await;
        self.began_at = self.rig.clock.now();
        let mut waits = [0, 1].map(|_| Duration::from_millis(self.draw.random_range(0..5_000)));
        waits.sort();
        // With a budget, agents would start one after another.
        tokio::time::sleep(SECOND * (self.number * 5) as u32).await;
        while self.minute() < MINUTES {
            let began = Instant::now();
            for (wait, more) in waits.into_iter().zip(0..) {
                tokio::time::sleep_until(began + wait).await;
                let question = self.question(QUESTIONS[((self.number + more) % 4) as usize]);
                self.rig.collect(question).await.unwrap();
                self.count(counts);
            }
            if self.number < LIVE_AGENTS {
                self.call();
            }
            tokio::time::sleep_until(began + ASKS_EVERY).await;
        }
        self.rig.close().await;
    }

    fn minute(&self) -> usize {
        (self.rig.clock.now().since(self.began_at).as_secs() / 60) as usize
    }

    fn question(&self, asks: Asks) -> Question {
        let rig = &self.rig;
        let question = match asks {
            Asks::All => rig.question(),
            Asks::Week => Question { from: Some(rig.clock.now().minus(7 * DAY)), ..rig.question() },
            Asks::Status(status) => rig.status(status),
        };
        Question { agent: AgentId::new(Uuid::from_u128(self.number.into())), ..question }
    }

    /// A call begins, and an earlier one ends.
    fn call(&self) {
        let (mut world, now) = (self.rig.script.world(), self.rig.clock.now());
        world.insert(now, "queued");
        let is_over = |row: &script::Fact| {
            row.status == "queued" && row.created_at > NOW && now.since(row.created_at) > 40 * SECOND
        };
        if let Some(row) = world.rows.iter().rposition(is_over) {
            world.change(row, "completed", now);
        }
    }

    fn count(&self, counts: &mut Counts) {
        let (now, minute) = (self.rig.clock.now(), self.minute());
        for (filters, page) in std::mem::take(&mut self.rig.script.world().asked) {
            let age = now.since(page.span.to());
            let kind = match filters.status.as_ref().map(Status::as_str) {
                Some("completed" | "failed") => "status",
                Some(_) => "probe",
                None if age < 15 * SECOND => "head",
                None if age < 4 * 3_600 * SECOND => "hours",
                None if age < 7 * DAY => "week",
                None => "older",
            };
            *counts.entry((kind, minute)).or_default() += 1;
        }
    }
}

#[test]
fn an_organizations_dashboards_stay_well_within_its_limit() {
    let mut counts = Counts::new();
    for number in 0..AGENTS {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(Agent::new(number).live_through(&mut counts));
    }
    let minutes: Vec<BTreeMap<&str, usize>> = (COLD_MINUTES..MINUTES)
        .map(|of| counts.iter().filter(|((_, m), _)| *m == of).map(|((kind, _), n)| (*kind, *n)).collect())
        .collect();
    let sums: Vec<usize> = minutes.iter().map(|kinds| kinds.values().sum()).collect();
    let average = sums.iter().sum::<usize>() / sums.len();
    assert!(average <= 288, "{average} on average, {sums:?}: {minutes:#?}");
    assert!(sums.iter().all(|sum| *sum <= 305), "{sums:?}: {minutes:#?}");
}
