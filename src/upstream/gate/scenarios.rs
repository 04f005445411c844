//! Scenarios for the gate: given a shape of load and an upstream, the results must be in allowed ranges.
//!
//! Each file in `scenarios/` is one. Time is virtual, so an hour takes a moment. Its terms:
//!
//! - `budget`, `connections`, `attempt_timeout_ms`: the gate's settings; `budget` may be null.
//! - `upstream`: what upstream does until an instant of the scenario, phase by phase, the last one without
//!   end: how long it takes (`latency_ms`), how many requests it allows in which time (`allows`, over a
//!   sliding window, without refusals), the pause of a 429 (`retry_after_ms`), and how it responds (`ok`,
//!   `error`, `hang`, `unreachable`), to all agents or only to those in `agents`.
//! - `load`: questions by name: from when, how many, how far apart, each with a number of pages, how many of
//!   them in flight, an urgency, an agent, and optionally a patience; a page without a response within it has
//!   failed.
//! - `expect`: figure → [least, most]. Of a load: `NAME.done` and `NAME.failed` (pages), `NAME.longest_ms` (a
//!   question). Of upstream: `requests`, `limited`, `errors`, `timeouts`, `most_in_period` (in any time of
//!   the budget's length), `most_in_flight`, `most_in_flight_at_end` (in the last tenth of the requests).
//!   `finished_ms`.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::source::{Deadline, QuestionId, RequestContext, Urgency};
use crate::upstream::retry::{Cause, RetryBudget, RetryLimits, Tries};
use crate::upstream::settings::{Fraction, Rate, RateScope};

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    #[expect(dead_code, reason = "read by people")]
    about: String,
    budget: Option<Allowance>,
    connections: usize,
    attempt_timeout_ms: u64,
    upstream: Vec<ScenarioPhase>,
    load: BTreeMap<String, Load>,
    expect: BTreeMap<String, (f64, f64)>,
}

#[derive(Clone, Copy, Deserialize)]
struct Allowance {
    count: u32,
    per_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioPhase {
    until_ms: Option<u64>,
    latency_ms: u64,
    #[serde(default)]
    allows: Option<Allowance>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    answers: Answers,
    #[serde(default)]
    agents: Option<Vec<u128>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Answers {
    Ok,
    Error,
    Hang,
    Unreachable,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    from_ms: u64,
    questions: u32,
    every_ms: u64,
    pages: u32,
    fan_out: u32,
    urgency: WantedUrgency,
    agent: u128,
    #[serde(default)]
    patience_ms: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WantedUrgency {
    Refresh,
    Cold,
    Renewal,
}

/// What upstream received and returned.
#[derive(Default)]
struct Seen {
    allowed: VecDeque<Instant>,
    sent: Vec<(Instant, usize)>,
    in_flight: usize,
    figures: BTreeMap<String, f64>,
}

struct ScenarioWorld {
    scenario: Scenario,
    gate: Gate,
    began: Instant,
    seen: Mutex<Seen>,
    retries: Mutex<RetryBudget>,
}

impl ScenarioWorld {
    fn add(&self, name: &str, n: f64) {
        *self.seen.lock().unwrap().figures.entry(name.to_owned()).or_default() += n;
    }

    fn raise(&self, name: &str, to: f64) {
        let mut seen = self.seen.lock().unwrap();
        let figure = seen.figures.entry(name.to_owned()).or_default();
        *figure = figure.max(to);
    }

    fn phase(&self, agent: u128) -> &ScenarioPhase {
        let at = millis(self.began.elapsed());
        let is_now = |phase: &&ScenarioPhase| {
            phase.until_ms.is_none_or(|until| at < until)
                && phase.agents.as_ref().is_none_or(|agents| agents.contains(&agent))
        };
        self.scenario.upstream.iter().find(is_now).expect("a last phase for all agents")
    }

    /// Upstream's handling of a request sent now.
    async fn exchange(&self, pass: Pass, agent: u128) -> Result<(), Cause> {
        let phase = self.phase(agent);
        {
            let mut seen = self.seen.lock().unwrap();
            seen.in_flight += 1;
            let in_flight = seen.in_flight;
            seen.sent.push((Instant::now(), in_flight));
        }
        let latency = Duration::from_millis(phase.latency_ms);
        let (outcome, result) = match phase.answers {
            Answers::Unreachable => {
                sleep(latency).await;
                (PassOutcome::Failed(Fault::Connection), Err(Cause::Transient(None)))
            }
            Answers::Hang => {
                sleep(Duration::from_millis(self.scenario.attempt_timeout_ms)).await;
                self.add("timeouts", 1.0);
                (PassOutcome::TimedOut, Err(Cause::Transient(None)))
            }
            Answers::Error => {
                sleep(latency).await;
                pass.answered(None);
                self.add("errors", 1.0);
                (PassOutcome::Failed(Fault::Answer), Err(Cause::Transient(None)))
            }
            Answers::Ok => {
                sleep(latency / 2).await;
                let is_allowed = phase.allows.is_none_or(|allows| self.allow(allows));
                sleep(latency / 2).await;
                pass.answered(None);
                if is_allowed {
                    (PassOutcome::Answered, Ok(()))
                } else {
                    self.add("limited", 1.0);
                    (
                        PassOutcome::Limited(phase.retry_after_ms.map(Duration::from_millis)),
                        Err(Cause::Limited),
                    )
                }
            }
        };
        self.seen.lock().unwrap().in_flight -= 1;
        pass.finish(outcome);
        result
    }

    fn allow(&self, allows: Allowance) -> bool {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap();
        while seen.allowed.front().is_some_and(|at| now - *at >= Duration::from_millis(allows.per_ms)) {
            seen.allowed.pop_front();
        }
        let is_allowed = seen.allowed.len() < allows.count as usize;
        if is_allowed {
            seen.allowed.push_back(now);
        }
        is_allowed
    }

    /// Reads one page with all its attempts, and returns whether it succeeded.
    async fn page(&self, load: &Load, question: QuestionId) -> bool {
        let deadline = load.patience_ms.map(|ms| Deadline::at(Instant::now() + Duration::from_millis(ms)));
        let urgency = match load.urgency {
            WantedUrgency::Refresh => Urgency::Refresh,
            WantedUrgency::Cold => Urgency::Cold,
            WantedUrgency::Renewal => Urgency::Renewal,
        };
        let retry_for = Duration::from_secs(50);
        let context = RequestContext { question, deadline, retry_for, ..RequestContext::for_test(urgency) };
        let asker = PassRequest {
            credential: CredentialId::new([1; 16]),
            agent: AgentId::new(Uuid::from_u128(load.agent)),
            standing: KeyAcceptance::Accepted,
            since: Instant::now(),
            context: &context,
        };
        let mut tries = Tries::default();
        loop {
            let began = Instant::now();
            let cause = match self.gate.enter(asker).await {
                Ok(pass) => {
                    let began = Instant::now();
                    let result = self.exchange(pass, load.agent).await;
                    tries.spent += began.elapsed();
                    match result {
                        Ok(()) => {
                            self.retries.lock().unwrap().deposit();
                            return true;
                        }
                        Err(cause) => cause,
                    }
                }
                Err(GateRefusal::NoRoom(_) | GateRefusal::Busy) => Cause::Final,
                Err(GateRefusal::Down(rest)) => Cause::Down(rest),
            };
            let now = Instant::now();
            let until_deadline =
                context.deadline.as_ref().map(|d| d.instant().saturating_duration_since(now));
            let limits = RetryLimits { retry_for: context.retry_for, until_deadline };
            let next = tries.next(cause, limits, &mut self.retries.lock().unwrap(), began.max(now), 0.5);
            let Some(wait) = next else { return false };
            tries.spent += wait;
            sleep(wait).await;
        }
    }

    async fn question(&self, name: &str, load: &Load) {
        let (question, next, began) = (QuestionId::unique(), AtomicU32::new(0), Instant::now());
        let workers = (0..load.fan_out).map(|_| async {
            while next.fetch_add(1, Ordering::Relaxed) < load.pages {
                let is_had = self.page(load, question).await;
                self.add(&format!("{name}.{}", if is_had { "done" } else { "failed" }), 1.0);
            }
        });
        futures_util::future::join_all(workers).await;
        self.raise(&format!("{name}.longest_ms"), millis(began.elapsed()) as f64);
    }

    fn figures(&self) -> BTreeMap<String, f64> {
        let seen = self.seen.lock().unwrap();
        let mut figures = seen.figures.clone();
        let sent = &seen.sent;
        let in_flight = |part: &[(Instant, usize)]| part.iter().map(|(_, n)| *n).max().unwrap_or(0) as f64;
        figures.insert("requests".to_owned(), sent.len() as f64);
        figures.insert("most_in_flight".to_owned(), in_flight(sent));
        figures.insert("most_in_flight_at_end".to_owned(), in_flight(&sent[sent.len() - sent.len() / 10..]));
        figures.insert("finished_ms".to_owned(), millis(self.began.elapsed()) as f64);
        let period = self.scenario.budget.map_or(60_000, |budget| budget.per_ms);
        let within = |i: usize| {
            sent[i..].iter().take_while(|(at, _)| *at - sent[i].0 < Duration::from_millis(period)).count()
        };
        figures.insert("most_in_period".to_owned(), (0..sent.len()).map(within).max().unwrap_or(0) as f64);
        figures
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap()
}

async fn plays(text: &str) {
    let scenario: Scenario = serde_json::from_str(text).unwrap();
    let rate = scenario.budget.and_then(|Allowance { count, per_ms }| {
        NonZeroU32::new(count).map(|count| Rate { count, per: Duration::from_millis(per_ms) })
    });
    let lanes = Lanes::new(RateScope::Shared, rate, Fraction::percent(20).unwrap());
    let gate = Gate::with(lanes, NonZeroUsize::new(scenario.connections).unwrap());
    let began = Instant::now();
    let retries = Mutex::new(RetryBudget::new(began));
    let world = Arc::new(ScenarioWorld { scenario, gate, began, seen: Mutex::default(), retries });
    let mut questions = JoinSet::new();
    for (name, load) in &world.scenario.load {
        for number in 0..load.questions {
            let (world, name, load) = (Arc::clone(&world), name.clone(), load.clone());
            questions.spawn(async move {
                sleep(Duration::from_millis(load.from_ms + u64::from(number) * load.every_ms)).await;
                world.question(&name, &load).await;
            });
        }
    }
    questions.join_all().await;
    let figures = world.figures();
    for (name, (least, most)) in &world.scenario.expect {
        let figure = figures.get(name).copied().unwrap_or(0.0);
        assert!((*least..=*most).contains(&figure), "{name} is {figure}, not {least} to {most}: {figures:?}");
    }
    let state = world.gate.state.lock();
    assert_eq!(
        (state.connections.in_flight(), state.waiters.len()),
        (0, 0),
        "requests or connections are left over"
    );
}

macro_rules! scenarios {
    ($($name:ident)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            plays(include_str!(concat!("scenarios/", stringify!($name), ".json"))).await;
        }
    )*};
}

scenarios! {
    an_undocumented_limit_is_found
    retry_after_is_honored
    a_limit_that_recovers_is_used_again
    timeouts_lower_the_number_in_flight
    an_outage_costs_a_handful_of_probes
    an_agent_that_always_fails_does_not_affect_others
    an_agent_that_hangs_does_not_affect_others
    an_agent_that_is_always_refused_does_not_affect_others
    an_export_does_not_make_a_dashboard_wait
    retries_do_not_multiply_an_outage
    an_upstream_that_refuses_everything_is_reported
}
