//! A model test: greedy processes share a budget while the server, the network and the processes fail at random.

use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::call::{BudgetCall, BudgetReply};
use super::member::WindowMember;
use super::reference::ReferenceServer;
use super::terms::{BudgetTerms, Millis, PULSE};

const TERMS: BudgetTerms = BudgetTerms { rate: 450, period: 60_000, replicas: 3, timeout: 250 };

/// The length of a history, and of its steps.
const LENGTH: Millis = 260_000;
const STEP: Millis = 10;

/// Upstream's limit for the rate of the terms.
const UPSTREAM: usize = 500;

/// How many waiting requests a process always has.
const GREED: u32 = 12;

/// A fault. Processes are given by their position.
#[derive(Clone, Copy, Debug)]
enum ModelFault {
    /// The server is gone; it may come back empty.
    Killed { is_empty_then: bool },
    /// The server stops, and later runs everything that was sent to it meanwhile.
    Stopped,
    /// A process is cut off.
    Partition(usize),
    /// A process crashes, and another one begins.
    Crash(usize),
    /// A process says goodbye and ends, and another one begins.
    Restart(usize),
    /// Everything in the server is deleted.
    Flush,
    /// The server's clock jumps.
    Jump(Millis),
}

#[derive(Clone, Copy, Debug)]
struct FaultSpan {
    fault: ModelFault,
    from: Millis,
    to: Millis,
}

struct ModelProcess {
    name: u64,
    member: WindowMember,
    in_flight: Option<ModelCall>,
    due: Millis,
    /// When it begins to run.
    starts: Millis,
}

struct ModelCall {
    call: BudgetCall,
    sent: Millis,
    arrives: Millis,
    back: Millis,
    reply: Option<BudgetReply>,
}

struct ModelWorld {
    random: SmallRng,
    faults: Vec<FaultSpan>,
    server: ReferenceServer,
    ahead: Millis,
    processes: Vec<ModelProcess>,
    /// Calls that the stopped server has yet to run. Their processes may have given up or ended.
    stuck: Vec<(u64, BudgetCall)>,
    seen: Vec<Millis>,
    started: u64,
}

impl ModelWorld {
    fn new(seed: u64, has_faults: bool) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let count = if has_faults { random.random_range(1..6) } else { 0 };
        let mut crashed = [false; 3];
        let mut faults: Vec<FaultSpan> = (0..count).map(|_| random_fault(&mut random)).collect();
        // If all processes crash, no process knows what was sent before.
        faults.retain(|span| match span.fault {
            ModelFault::Crash(who) => {
                crashed[who] = true;
                crashed.iter().filter(|crashed| **crashed).count() < 2
            }
            ModelFault::Killed { .. }
            | ModelFault::Stopped
            | ModelFault::Partition(_)
            | ModelFault::Restart(_)
            | ModelFault::Flush
            | ModelFault::Jump(_) => true,
        });
        let mut world = Self {
            random,
            faults,
            server: ReferenceServer::default(),
            ahead: 1_790_000_000_000,
            processes: Vec::new(),
            stuck: Vec::new(),
            seen: Vec::new(),
            started: 0,
        };
        for _ in 0..TERMS.replicas {
            let starts = world.random.random_range(0..3_000);
            let process = world.process(starts);
            world.processes.push(process);
        }
        world
    }

    fn process(&mut self, starts: Millis) -> ModelProcess {
        self.started += 1;
        ModelProcess {
            name: self.started,
            member: WindowMember::new(TERMS, self.started, starts),
            in_flight: None,
            due: starts,
            starts,
        }
    }

    fn is_in(&self, now: Millis, matches: impl Fn(ModelFault) -> bool) -> bool {
        self.faults.iter().any(|span| matches(span.fault) && (span.from..span.to).contains(&now))
    }

    fn run(mut self) -> Vec<Millis> {
        for now in (0..LENGTH).step_by(STEP as usize) {
            self.strike(now);
            let is_stopped = self.is_in(now, |fault| matches!(fault, ModelFault::Stopped));
            if !is_stopped {
                for (name, call) in std::mem::take(&mut self.stuck) {
                    self.server.run(now + self.ahead, name, &call, &TERMS);
                }
            }
            for who in 0..self.processes.len() {
                if now >= self.processes[who].starts {
                    self.exchange(who, now, is_stopped);
                    self.send(who, now);
                }
            }
        }
        self.seen.sort_unstable();
        self.seen
    }

    fn strike(&mut self, now: Millis) {
        for span in self.faults.clone() {
            match span.fault {
                ModelFault::Killed { is_empty_then: true } | ModelFault::Flush
                    if span.to / STEP == now / STEP =>
                {
                    self.server = ReferenceServer::default();
                }
                ModelFault::Jump(by) if span.from / STEP == now / STEP => self.ahead += by,
                ModelFault::Crash(who) | ModelFault::Restart(who) if span.from / STEP == now / STEP => {
                    if let ModelFault::Restart(_) = span.fault
                        && let Some(call) = self.processes[who].member.goodbye(now)
                        && self.reaches(who, now)
                    {
                        let name = self.processes[who].name;
                        self.server.run(now + self.ahead, name, &call, &TERMS);
                    }
                    self.processes[who] = self.process(span.to);
                }
                ModelFault::Killed { .. }
                | ModelFault::Flush
                | ModelFault::Stopped
                | ModelFault::Partition(_)
                | ModelFault::Crash(_)
                | ModelFault::Restart(_)
                | ModelFault::Jump(_) => {}
            }
        }
    }

    fn reaches(&self, who: usize, now: Millis) -> bool {
        !self.is_in(now, |fault| match fault {
            ModelFault::Killed { .. } | ModelFault::Stopped => true,
            ModelFault::Partition(cut) => cut == who,
            ModelFault::Crash(_) | ModelFault::Restart(_) | ModelFault::Flush | ModelFault::Jump(_) => false,
        })
    }

    /// Sends a call that is due, runs it in the server, and takes in its reply.
    fn exchange(&mut self, who: usize, now: Millis, is_stopped: bool) {
        let (reaches, ahead) = (self.reaches(who, now), self.ahead);
        let process = &mut self.processes[who];
        if let Some(under_way) = &mut process.in_flight {
            if under_way.reply.is_none() && now >= under_way.arrives {
                if reaches {
                    let call = &under_way.call;
                    under_way.reply = Some(self.server.run(now + ahead, process.name, call, &TERMS));
                } else if is_stopped {
                    self.stuck.push((process.name, under_way.call.clone()));
                }
                under_way.arrives = Millis::MAX;
            }
            let back = under_way.back;
            if now >= back
                && reaches
                && let Some(reply) = under_way.reply.take()
            {
                let ModelCall { call, sent, .. } = process.in_flight.take().unwrap();
                let view = process.member.replied(&call, sent, now, reply);
                process.due = now + view.as_ref().map_or(10, |view| view.wait.clamp(10, PULSE));
                for _ in 0..view.map_or(0, |view| view.granted) {
                    self.seen.push(now + self.random.random_range(0..=1000));
                }
            } else if now - under_way.sent > TERMS.timeout {
                process.in_flight = None;
                process.member.failed();
                process.due = now + 100;
            }
        }
        let process = &mut self.processes[who];
        if process.in_flight.is_none() && now >= process.due {
            let call = process.member.call(now, GREED, self.random.next_u64());
            let mut way = || match self.random.random_range(0..200) {
                0 => self.random.random_range(100..400),
                _ => self.random.random_range(0..20),
            };
            let arrives = now + way();
            let back = arrives + way();
            process.in_flight = Some(ModelCall { call, sent: now, arrives, back, reply: None });
        }
    }

    /// Sends requests that need no permission.
    fn send(&mut self, who: usize, now: Millis) {
        let process = &mut self.processes[who];
        while process.member.is_alone() && process.member.take_alone(now).is_ok() {
            self.seen.push(now + self.random.random_range(0..=1000));
        }
    }
}

fn random_fault(random: &mut SmallRng) -> FaultSpan {
    let (from, who) = (random.random_range(5_000..200_000), random.random_range(0..3));
    let (fault, length) = match random.random_range(0..10) {
        0 | 1 => {
            (ModelFault::Killed { is_empty_then: random.random_bool(0.5) }, random.random_range(100..90_000))
        }
        2 => (ModelFault::Stopped, random.random_range(100..40_000)),
        3 | 4 => (ModelFault::Partition(who), random.random_range(100..120_000)),
        5 | 6 => (ModelFault::Crash(who), random.random_range(0..20_000)),
        7 => (ModelFault::Restart(who), random.random_range(0..20_000)),
        8 => (ModelFault::Flush, 10),
        _ => (ModelFault::Jump(random.random_range(-30_000..30_000)), 10),
    };
    FaultSpan { fault, from, to: from + length }
}

/// The most requests that upstream sees in any span of the period.
fn most_in_period(seen: &[Millis]) -> usize {
    let (mut first, mut most) = (0, 0);
    for (last, at) in seen.iter().enumerate() {
        while at - seen[first] >= TERMS.period {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

/// Runs histories. Returns the most requests in a period for each, in ascending order, and the total of all requests.
fn histories(seeds: std::ops::Range<u64>, has_faults: bool) -> (Vec<(usize, u64)>, usize) {
    let mut total = 0;
    let mut most: Vec<_> = seeds
        .map(|seed| {
            let seen = ModelWorld::new(seed, has_faults).run();
            total += seen.len();
            (most_in_period(&seen), seed)
        })
        .collect();
    most.sort_unstable();
    (most, total)
}

fn count() -> u64 {
    let asked = std::env::vars()
        .find_map(|(name, value)| (name == "FANFOLD_BUDGET_HISTORIES").then(|| value.parse().ok()).flatten());
    asked.unwrap_or(100)
}

#[test]
fn without_faults_the_processes_together_use_the_whole_rate_and_no_more() {
    let (most, total) = histories(0..10, false);
    assert!(most.iter().all(|(most, _)| *most <= TERMS.rate as usize), "{most:?}");
    let possible = 10 * TERMS.rate as usize * LENGTH as usize / TERMS.period as usize;
    println!("{total} requests of {possible}; most in a period: {most:?}");
    assert!(total * 100 > possible * 93, "{total} of {possible}");
}

#[test]
fn upstream_never_sees_more_than_its_limit_under_any_faults() {
    let (most, total) = histories(1_000..1_000 + count(), true);
    let above = most.iter().filter(|(most, _)| *most > TERMS.rate as usize).count();
    let (median, worst) = (most[most.len() / 2].0, most.last().unwrap());
    println!(
        "{} histories, {total} requests; most in a period: median {median}, worst {worst:?}; {above} above the rate",
        most.len()
    );
    assert!(worst.0 <= UPSTREAM, "seed {}: {}", worst.1, worst.0);
}
