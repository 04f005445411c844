//! Compares the script in a real server with the reference.

use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::call::{BudgetCall, BudgetReply, RequestName};
use super::link::{WINDOW_TEXT, read};
use super::reference::ReferenceServer;
use super::terms::{BudgetTerms, Millis};
use crate::replicas::connection::LuaScript;
use crate::replicas::server::Server;
use crate::replicas::testing::TestServer;

const TERMS: BudgetTerms = BudgetTerms { rate: 24, period: 4_000, replicas: 2, timeout: 250 };

const WINDOW: &[u8] = b"{t}:window";
const MEMBERS: &[u8] = b"{t}:members";

/// Runs the script with a server clock that shows `now`.
async fn run(
    server: &Server,
    script: &LuaScript,
    now: Millis,
    process: u64,
    call: &BudgetCall,
) -> BudgetReply {
    let mut args = call.args(process, &TERMS, 0);
    args.push((now / 1000).to_string().into_bytes());
    args.push((now % 1000 * 1000).to_string().into_bytes());
    let args: Vec<_> = args.iter().map(Vec::as_slice).collect();
    let mut reply = read(server.script(script, &[WINDOW, MEMBERS], &args).await.unwrap()).unwrap();
    if let Some(view) = &mut reply.view {
        view.others.sort_unstable();
    }
    reply
}

fn random_call(random: &mut SmallRng, now: Millis, epoch: u64) -> BudgetCall {
    let odd = random.random_range(0..20);
    let reported = if random.random_bool(0.2) { random.random_range(1..4) } else { 0 };
    let report = (0..reported).map(|_| {
        let name = RequestName(random.random_range(1..4), random.random_range(0..40));
        (name, random.random_range(0..5_000))
    });
    let report = report.collect();
    BudgetCall {
        epoch: (odd != 0).then_some(epoch),
        forget: (odd == 1).then_some(epoch),
        fresh: (1 << 51) | (random.next_u64() >> 13),
        sent: now + random.random_range(-300..100),
        is_young: random.random_bool(0.4),
        want: random.random_range(0..8),
        first: random.random_range(0..1_000_000),
        pause: if odd == 2 { random.random_range(1..1_000) } else { 0 },
        is_goodbye: odd == 3,
        since: now - random.random_range(0..3_000),
        report,
    }
}

#[tokio::test]
async fn script_and_reference_return_the_same() {
    let (server, text) =
        (TestServer::start(), WINDOW_TEXT.replace("redis.call('TIME')", "{ARGV[19], ARGV[20]}"));
    let script = LuaScript::new(Box::leak(text.into_boxed_str()));
    let connection = server.connect().await;
    let (mut granted, mut views) = (0, 0);
    for seed in 0..20 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut reference = ReferenceServer::default();
        connection.command(&[b"FLUSHALL"]).await.unwrap();
        let (mut now, mut epoch) = (1_790_000_000_000, 0);
        for step in 0..150 {
            now += random.random_range(0..400);
            match random.random_range(0..60) {
                0 => {
                    connection.command(&[b"DEL", WINDOW]).await.unwrap();
                    reference.lose_window();
                }
                1 => {
                    connection.command(&[b"DEL", MEMBERS]).await.unwrap();
                    reference.lose_members();
                }
                _ => {}
            }
            let (process, call) = (random.random_range(1..4), random_call(&mut random, now, epoch));
            let reply = run(&connection, &script, now, process, &call).await;
            let mut expected = reference.run(now, process, &call, &TERMS);
            if let Some(view) = &mut expected.view {
                view.others.sort_unstable();
                views += 1;
                granted += view.granted;
            }
            assert_eq!(reply, expected, "seed {seed}, step {step}: {call:?}");
            epoch = reply.epoch;
        }
    }
    assert!(views > 1_000 && granted > 500, "{views} views, {granted} permissions");
}
