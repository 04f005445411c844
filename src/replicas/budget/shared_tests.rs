use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::replicas::settings::ServerSettings;
use crate::replicas::testing::TestServer;

const TERMS: BudgetTerms = BudgetTerms { rate: 8, period: 60_000, replicas: 3, timeout: 250 };

fn open(settings: &ServerSettings, terms: BudgetTerms) -> (Arc<SharedBudget>, Shutdown) {
    let (clock, shutdown) = (SteadyClock::from_wall(), Shutdown::default());
    let server = Arc::new(Server::open(settings, &clock));
    (SharedBudget::open(terms, BudgetScope::Everyone, server, clock, &shutdown), shutdown)
}

fn note(budget: &Arc<SharedBudget>, sent: &Arc<AtomicU32>) {
    let (times, sent) = (SharedTimes(Arc::clone(budget)), Arc::clone(sent));
    let request = SentRequest { credential: CredentialId::new([1; 16]), at: SteadyClock::from_wall().now() };
    budget.tasks.spawn(async move {
        times.note(request).await;
        sent.fetch_add(1, Ordering::Relaxed);
    });
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn processes_together_send_the_rate_and_learn_of_each_others_requests() {
    let server = TestServer::start();
    let budgets: Vec<_> = (0..3).map(|_| open(&server.settings(), TERMS).0).collect();
    let sent: Vec<_> = budgets.iter().map(|_| Arc::<AtomicU32>::default()).collect();
    for _ in 0..8 {
        budgets.iter().zip(&sent).for_each(|(budget, sent)| note(budget, sent));
    }
    let own = |n: usize| sent[n].load(Ordering::Relaxed) as usize;
    let known: Vec<_> = budgets.iter().map(|_| AtomicU32::new(0)).collect();
    until(|| {
        for (budget, known) in budgets.iter().zip(&known) {
            let news = SharedTimes(Arc::clone(budget)).sent_by_others().len();
            known.fetch_add(u32::try_from(news).unwrap(), Ordering::Relaxed);
        }
        (0..3).all(|n| own(n) + known[n].load(Ordering::Relaxed) as usize == 8)
    })
    .await;
    assert_eq!(own(0) + own(1) + own(2), 8);
    let seen = SharedBudgetReadings { members: 3, left: 0, ..SharedBudgetReadings::default() };
    until(|| {
        budgets
            .iter()
            .all(|budget| SharedBudgetReadings { alone: Duration::ZERO, ..budget.readings() } == seen)
    })
    .await;
}

#[tokio::test]
async fn a_pause_that_one_process_reports_reaches_the_others_once() {
    let server = TestServer::start();
    let terms = BudgetTerms { replicas: 2, ..TERMS };
    let (one, two) = (open(&server.settings(), terms).0, open(&server.settings(), terms).0);
    until(|| [&one, &two].iter().all(|budget| budget.readings().members == 2)).await;
    let (one, two) = (SharedTimes(one), SharedTimes(two));
    let clock = SteadyClock::from_wall();
    let end = clock.now().plus(Duration::from_secs(20));
    one.limited(CredentialId::new([1; 16]), end);
    let pauses = |times: &SharedTimes| {
        let kinds = times.changes().into_iter().map(|change| change.kind);
        kinds.filter(|kind| matches!(kind, crate::tier::BudgetChangeKind::Pause(_))).count()
    };
    until(|| pauses(&two) == 1).await;
    note(&one.0, &Arc::default());
    until(|| two.0.readings().left < 8).await;
    assert_eq!((pauses(&one), pauses(&two)), (0, 0));
}

#[tokio::test]
async fn a_process_that_never_reached_the_server_keeps_to_a_tenth_of_its_share() {
    let mut settings = TestServer::start().settings();
    settings.timeout = Duration::from_millis(50);
    let (budget, _) = open(&settings, BudgetTerms { rate: 90, ..TERMS });
    let sent = Arc::<AtomicU32>::default();
    (0..9).for_each(|_| note(&budget, &sent));
    until(|| sent.load(Ordering::Relaxed) == 3).await;
    assert!(!budget.readings().alone.is_zero() || budget.readings().members == 0);
    assert_eq!(sent.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_drained_process_hands_its_place_over() {
    let server = TestServer::start();
    let terms = BudgetTerms { replicas: 2, ..TERMS };
    let (one, (two, shutdown)) = (open(&server.settings(), terms).0, open(&server.settings(), terms));
    let limit = |budget: &Arc<SharedBudget>| budget.readings().left;
    until(|| limit(&one) == 8 && limit(&two) == 8).await;
    shutdown.drain();
    shutdown.finished().await;
    until(|| limit(&one) == 4).await;
    let (next, _) = open(&server.settings(), terms);
    until(|| limit(&one) == 8 && limit(&next) == 8).await;
}
