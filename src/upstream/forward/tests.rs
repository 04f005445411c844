use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderValue, header};
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::upstream::{BaseUrl, DateParams, Fraction, PlainHttp, RateScope};

/// An upstream that handles each connection separately, and reports what it received.
async fn start<F, R>(handle: F) -> (Forwarder, JoinSet<()>, Arc<AtomicUsize>)
where
    F: Fn(usize, TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/base/", listener.local_addr().unwrap());
    let settings = UpstreamSettings {
        base_url: BaseUrl::parse(&base, PlainHttp::LoopbackOnly).unwrap(),
        ca_pem: None,
        attempt_timeout: Duration::from_secs(10),
        rate: None,
        rate_scope: RateScope::Shared,
        concurrency: NonZeroUsize::MIN,
        refresh_reserve: Fraction::percent(20).unwrap(),
        dates: DateParams::Sent,
    };
    let count = Arc::new(AtomicUsize::new(0));
    let connections = Arc::clone(&count);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut handlers = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            handlers.spawn(handle(connections.fetch_add(1, Ordering::SeqCst), socket));
        }
    });
    (Forwarder::new(&settings).unwrap(), tasks, count)
}

fn request(method: Method, target: &str, body: Option<&'static str>) -> Request<ForwardBody> {
    let body = body.map_or_else(nothing, |text| {
        Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
    });
    Request::builder().method(method).uri(target).body(body).unwrap()
}

async fn head(socket: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(seen).unwrap()
}

/// The bytes of a request as upstream receives them.
async fn seen(request: Request<ForwardBody>) -> String {
    let (say, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let (forwarder, _tasks, _) = start(move |_, mut socket| {
        let say = say.clone();
        async move {
            say.send(head(&mut socket).await).unwrap();
            socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
    })
    .await;
    assert_eq!(forwarder.forward(request).await.unwrap().status(), 204);
    hear.recv().await.unwrap()
}

#[tokio::test]
async fn sends_the_path_and_query_byte_for_byte_below_the_base() {
    for target in ["/a/%2E/b%2Fc?x=%7e&y=a+b&z='|'&&=", "/x/../y;p=1", "/%2e%2e/%252e?", "/"] {
        let seen = seen(request(Method::GET, target, None)).await;
        assert_eq!(seen.lines().next().unwrap(), format!("GET /base{target} HTTP/1.1"));
    }
}

#[tokio::test]
async fn keeps_the_callers_framing_and_sends_upstreams_host() {
    for (method, body, length, framing) in [
        (Method::GET, None, None, None),
        (Method::DELETE, None, None, None),
        (Method::POST, None, Some("0"), Some("content-length: 0")),
        (Method::POST, Some("12"), Some("2"), Some("content-length: 2")),
    ] {
        let mut request = request(method.clone(), "/x", body);
        if let Some(length) = length {
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        let seen = seen(request).await.to_ascii_lowercase();
        let framings: Vec<_> = seen
            .lines()
            .filter(|line| line.starts_with("content-length") || line.starts_with("transfer-encoding"))
            .collect();
        assert_eq!(framings, framing.into_iter().collect::<Vec<_>>(), "{method}");
        assert_eq!(seen.lines().filter(|line| line.starts_with("host: 127.0.0.1:")).count(), 1);
        assert!(!seen.contains("accept-encoding"));
    }
}

#[tokio::test]
async fn repeats_a_read_on_a_new_connection_but_never_a_write() {
    let (forwarder, _tasks, connections) = start(|_, mut socket| async move {
        // Reads the complete request, then closes.
        head(&mut socket).await;
    })
    .await;
    assert_eq!(forwarder.forward(request(Method::GET, "/x", None)).await.err(), Some(ForwardError::Broken));
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    assert_eq!(forwarder.forward(request(Method::POST, "/x", None)).await.err(), Some(ForwardError::Broken));
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn returns_an_early_refusal_although_the_body_cannot_be_written() {
    let (forwarder, _tasks, _) = start(|_, mut socket| async move {
        head(&mut socket).await;
        let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig";
        socket.write_all(answer).await.unwrap();
    })
    .await;
    let piece = || {
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(http_body::Frame::data(Bytes::from(vec![0; 65536])))
    };
    let pieces = futures_util::stream::iter((0..400).map(move |_| piece()));
    let body = http_body_util::StreamBody::new(pieces).boxed_unsync();
    let request = Request::builder().method(Method::POST).uri("/x").body(body).unwrap();
    let answer = forwarder.forward(request).await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "big");
}

#[tokio::test]
async fn closes_upstreams_connection_when_the_caller_leaves() {
    let (say, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let (forwarder, _tasks, _) = start(move |_, mut socket| {
        let say = say.clone();
        async move {
            head(&mut socket).await;
            say.send("asked").unwrap();
            let _ended = socket.read_u8().await.unwrap_err();
            say.send("closed").unwrap();
        }
    })
    .await;
    tokio::select! {
        answer = forwarder.forward(request(Method::GET, "/x", None)) => panic!("{:?}", answer.err()),
        asked = hear.recv() => assert_eq!(asked, Some("asked")),
    }
    assert_eq!(hear.recv().await, Some("closed"));
}
