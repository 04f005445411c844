use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use super::{ServerLimits, serve};
use crate::shutdown::Shutdown;
use crate::telemetry::ConnectionCounts;

/// Far longer than any test runs.
const LONG: Duration = Duration::from_secs(600);

/// Short enough to wait for.
const SHORT: Duration = Duration::from_millis(40);

const LIMITS: ServerLimits = ServerLimits {
    head_timeout: LONG,
    idle_timeout: LONG,
    stall_timeout: LONG,
    flush_grace: Duration::ZERO,
    connections: 8,
    head_bytes: 1 << 20,
};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";

async fn start(router: Router, limits: ServerLimits) -> (SocketAddr, Shutdown) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::default();
    shutdown.spawn(serve(listener, router, limits, ConnectionCounts::default(), shutdown.clone()));
    (address, shutdown)
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

async fn connect(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

fn h2_client() -> reqwest::Client {
    reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap()
}

/// Everything that arrives until the connection closes, cleanly or not.
async fn rest_of(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A body without an end, and a receiver that closes when the body is dropped.
fn endless() -> (Router, mpsc::Receiver<Infallible>) {
    let (sender, dropped) = mpsc::channel(1);
    let sender = Arc::new(std::sync::Mutex::new(Some(sender)));
    let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
    let answer = move || {
        let held = sender.lock().unwrap().take();
        let chunks = stream::repeat(chunk.clone()).map(move |chunk| {
            let _ = &held;
            Ok::<_, Infallible>(chunk)
        });
        async { Body::from_stream(chunks) }
    };
    (Router::new().route("/", get(answer)), dropped)
}

#[tokio::test]
async fn closes_a_connection_with_half_a_head() {
    let (address, _shutdown) = start(hello(), ServerLimits { head_timeout: SHORT, ..LIMITS }).await;
    let stream = connect(address, b"GET / HTTP/1.1\r\nhost: te").await;
    assert_eq!(rest_of(stream).await, "");
}

#[tokio::test]
async fn closes_a_connection_that_never_sends_a_request() {
    let (address, _shutdown) = start(hello(), ServerLimits { idle_timeout: SHORT, ..LIMITS }).await;
    assert_eq!(rest_of(connect(address, b"").await).await, "");
}

#[tokio::test]
async fn closes_a_connection_that_stays_idle_after_a_response() {
    let (address, _shutdown) = start(hello(), ServerLimits { idle_timeout: 25 * SHORT, ..LIMITS }).await;
    let answer = rest_of(connect(address, REQUEST).await).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn cuts_off_a_client_that_reads_nothing() {
    let (router, mut dropped) = endless();
    let (address, shutdown) = start(router, ServerLimits { stall_timeout: SHORT, ..LIMITS }).await;
    let stream = connect(address, REQUEST).await;
    assert!(dropped.recv().await.is_none());
    shutdown.drain();
    shutdown.finished().await;
    drop(stream);
}

#[tokio::test]
async fn cuts_off_an_h2_client_that_answers_pings_but_reads_nothing() {
    let (router, mut dropped) = endless();
    let (address, _shutdown) = start(router, ServerLimits { stall_timeout: SHORT, ..LIMITS }).await;
    let response = h2_client().get(format!("http://{address}/")).send().await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert!(dropped.recv().await.is_none());
    drop(response);
}

#[tokio::test]
async fn serves_both_protocols_on_one_port() {
    let (address, _shutdown) = start(hello(), LIMITS).await;
    let answer = rest_of(connect(address, LAST_REQUEST).await).await;
    assert!(answer.ends_with("hello"));
    let text = h2_client().get(format!("http://{address}/")).send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "hello");
}

#[tokio::test]
async fn a_drain_finishes_running_requests_and_refuses_new_ones() {
    let (asked, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (ask, released) = (Arc::clone(&asked), Arc::clone(&release));
    let slow = move || async move {
        ask.notify_one();
        released.notified().await;
        "late"
    };
    let (address, shutdown) = start(Router::new().route("/", get(slow)), LIMITS).await;
    let stream = connect(address, REQUEST).await;
    asked.notified().await;

    shutdown.drain();
    // The listener closes with its task; until then a connection may still be queued.
    while shutdown.running() > 1 {
        tokio::task::yield_now().await;
    }
    assert!(TcpStream::connect(address).await.is_err());

    release.notify_one();
    let answer = rest_of(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("late"), "{answer}");
    shutdown.finished().await;
}

#[tokio::test]
async fn ending_the_shutdown_cuts_off_unfinished_responses() {
    let asked = Arc::new(Notify::new());
    let ask = Arc::clone(&asked);
    let never = move || async move {
        ask.notify_one();
        std::future::pending::<&str>().await
    };
    let (address, shutdown) = start(Router::new().route("/", get(never)), LIMITS).await;
    let stream = connect(address, REQUEST).await;
    asked.notified().await;
    shutdown.end();
    shutdown.finished().await;
    assert_eq!(rest_of(stream).await, "");
}

#[tokio::test]
async fn excess_connections_wait_for_a_place() {
    let (address, _shutdown) = start(hello(), ServerLimits { connections: 1, ..LIMITS }).await;
    let mut first = connect(address, REQUEST).await;
    first.read_exact(&mut [0; 12]).await.unwrap();
    let mut second = connect(address, LAST_REQUEST).await;
    let mut buffer = [0; 1];
    let early = tokio::time::timeout(SHORT, second.read(&mut buffer)).await;
    assert!(early.is_err(), "served at the same time as the first");
    drop(first);
    assert!(rest_of(second).await.ends_with("hello"));
}

#[tokio::test]
async fn refuses_a_head_that_is_too_large() {
    let (address, _shutdown) = start(hello(), LIMITS).await;
    let mut request = b"GET / HTTP/1.1\r\nhost: test\r\nx: ".to_vec();
    request.resize(512 * 1024, b'x');
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(&request).await;
    let answer = rest_of(stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn bytes_before_a_body_error_reach_the_client() {
    let fails = || async {
        let end = std::io::Error::other("no more");
        Body::from_stream(stream::iter([Ok(Bytes::from_static(b"a row")), Ok("the reason".into()), Err(end)]))
    };
    let (address, _shutdown) = start(Router::new().route("/", get(fails)), LIMITS).await;
    let answer = rest_of(connect(address, REQUEST).await).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("a row"), "{answer}");
    assert!(answer.ends_with("the reason\r\n"), "{answer}");
}

#[tokio::test]
async fn a_body_that_fails_at_once_still_has_its_head_sent() {
    let fails =
        || async { Body::from_stream(stream::iter([Err::<Bytes, _>(std::io::Error::other("none"))])) };
    let (address, _shutdown) = start(Router::new().route("/", get(fails)), LIMITS).await;
    let answer = rest_of(connect(address, REQUEST).await).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut response = h2_client().get(format!("http://{address}/")).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert!(response.chunk().await.is_err());
}

#[tokio::test]
async fn cuts_off_only_the_stalled_stream() {
    let (endless, mut dropped) = endless();
    let (tick, ticks) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    let ticks = Arc::new(std::sync::Mutex::new(Some(ticks)));
    let ticking = move || {
        let ticks = ticks.lock().unwrap().take().unwrap();
        async {
            Body::from_stream(stream::unfold(ticks, async |mut ticks| Some((ticks.recv().await?, ticks))))
        }
    };
    let router = endless.route("/ticks", get(ticking));
    let (address, _shutdown) = start(router, ServerLimits { stall_timeout: 25 * SHORT, ..LIMITS }).await;
    let client = h2_client();
    let stalled = client.get(format!("http://{address}/")).send().await.unwrap();
    let mut other = client.get(format!("http://{address}/ticks")).send().await.unwrap();
    let mut taken = 0;
    // The other stream's bytes keep the connection moving until the stalled one is gone.
    loop {
        tick.send(Ok(Bytes::from_static(&[b'x'; 4096]))).await.unwrap();
        taken += other.chunk().await.unwrap().unwrap().len();
        if dropped.try_recv() == Err(mpsc::error::TryRecvError::Disconnected) {
            break;
        }
    }
    tick.send(Ok(Bytes::from_static(b"last"))).await.unwrap();
    drop(tick);
    while let Some(chunk) = other.chunk().await.unwrap() {
        taken += chunk.len();
    }
    assert_eq!(taken % 4096, 4);
    drop(stalled);
}

#[tokio::test]
async fn an_h2_client_receives_the_whole_of_a_body_sent_in_pieces() {
    let text: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    let sent = text.clone();
    let (address, _shutdown) = start(Router::new().route("/", get(|| async { sent })), LIMITS).await;
    let response = h2_client().get(format!("http://{address}/")).send().await.unwrap();
    assert_eq!(response.content_length(), Some(text.len() as u64));
    assert_eq!(response.text().await.unwrap(), text);
}

#[tokio::test]
async fn closes_an_idle_connection_to_make_room() {
    let (address, _shutdown) = start(hello(), ServerLimits { connections: 2, ..LIMITS }).await;
    let (silent, mut kept) = (connect(address, b"").await, connect(address, REQUEST).await);
    kept.read_exact(&mut [0; 12]).await.unwrap();
    assert!(rest_of(connect(address, LAST_REQUEST).await).await.ends_with("hello"));
    assert_eq!(rest_of(silent).await, "");
}

#[tokio::test]
async fn bounds_all_unfinished_heads_together() {
    let limits = ServerLimits { head_bytes: 20_000, ..LIMITS };
    let mut head = b"GET / HTTP/1.1\r\nhost: test\r\nx: ".to_vec();
    head.resize(15_000, b'x');
    let (address, _shutdown) = start(hello(), limits).await;
    let mut first = connect(address, &head).await;
    let mut buffer = [0; 1];
    let early = tokio::time::timeout(SHORT, first.read(&mut buffer)).await;
    assert!(early.is_err(), "one head has room");
    let mut second = TcpStream::connect(address).await.unwrap();
    let _ = second.write_all(&head).await;
    assert_eq!(rest_of(second).await, "");
    first.write_all(b"\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest_of(first).await.ends_with("hello"));
}
