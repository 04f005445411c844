use super::super::testing::TestServer;
use super::*;
use crate::sealed::testing::TempFolder;

static ECHO: LuaScript = LuaScript::new("return {KEYS[1], ARGV[1], #ARGV, false}");

async fn echo(server: &Server) -> Result<ServerReply, CallError> {
    server.script(&ECHO, &[b"ff1:key"], &[b"\0value"]).await
}

/// Calls until one succeeds. Until then, each fails at once.
async fn until_it_answers(server: &Server) {
    while echo(server).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_script_gets_keys_and_values_and_returns_lists() {
    let redis = TestServer::start();
    let server = redis.connect().await;
    let expected = [
        ServerReply::Bytes(b"ff1:key".to_vec()),
        ServerReply::Bytes(b"\0value".to_vec()),
        ServerReply::Number(1),
        ServerReply::Nil,
    ];
    assert_eq!(echo(&server).await, Ok(ServerReply::List(expected.to_vec())));
    redis.tell(&["SCRIPT", "FLUSH"]);
    assert_eq!(echo(&server).await.unwrap().list(), expected);
    assert_eq!(server.bulk_command(&[b"MGET", b"a", b"b"]).await.unwrap().list().len(), 2);
    assert!(server.server_clock().is_some_and(|clock| clock.ahead.abs() < 60_000_000));
    assert_eq!(server.reconnects(), 0);
}

#[tokio::test]
async fn calls_fail_at_once_while_there_is_no_server() {
    let mut redis = TestServer::start();
    let mut settings = redis.settings();
    settings.address.port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = Server::open(&settings, &SteadyClock::from_wall());
    assert_eq!(echo(&nobody).await, Err(CallError::Away));
    assert!(nobody.up_within(Duration::from_millis(300)).await.unwrap_err().contains("refused"));
    let server = redis.connect().await;
    redis.restart();
    until_it_answers(&server).await;
    assert!(server.reconnects() > 0);
}

#[tokio::test]
async fn a_refused_command_keeps_the_connection() {
    let redis = TestServer::start();
    let server = redis.connect().await;
    let refused = server.command(&[b"HGET", b"x"]).await.unwrap_err();
    assert!(matches!(refused, CallError::Refused(why) if why.contains("number of arguments")));
    assert!(echo(&server).await.is_ok());
    assert_eq!(server.reconnects(), 0);
}

#[tokio::test]
async fn a_connection_to_a_demoted_primary_is_replaced() {
    let redis = TestServer::start();
    let server = redis.connect().await;
    redis.tell(&["REPLICAOF", "127.0.0.1", "1"]);
    let refused = server.command(&[b"SET", b"ff1:x", b"1"]).await.unwrap_err();
    assert!(matches!(refused, CallError::Refused(why) if why.starts_with("READONLY")));
    while server.is_up() {
        tokio::task::yield_now().await;
    }
    assert_eq!(echo(&server).await, Err(CallError::Away));
    redis.tell(&["REPLICAOF", "NO", "ONE"]);
    until_it_answers(&server).await;
}

#[tokio::test]
async fn only_one_call_waits_for_a_silent_server() {
    let redis = TestServer::start();
    let server = redis.connect().await;
    redis.tell(&["CLIENT", "PAUSE", "1500", "ALL"]);
    let timed_out = echo(&server).await.unwrap_err();
    assert!(matches!(timed_out, CallError::Unknown(_)), "{timed_out:?}");
    assert_eq!(echo(&server).await, Err(CallError::Away));
    assert_eq!(server.bulk_command(&[b"GET", b"x"]).await, Err(CallError::Away));
    until_it_answers(&server).await;
}

#[tokio::test]
async fn the_password_is_read_again_for_each_connection() {
    let redis = TestServer::start();
    let folder = TempFolder::new();
    let file = folder.path().join("password");
    std::fs::write(&file, "wrong\n").unwrap();
    redis.tell(&["ACL", "SETUSER", "gateway", "on", ">right", "~ff1:*", "+@all"]);
    let mut settings = redis.settings();
    (settings.user, settings.password_file) = (Some("gateway".to_owned()), Some(file.clone()));
    let server = Server::open(&settings, &SteadyClock::from_wall());
    let fault = server.up_within(Duration::from_millis(300)).await.unwrap_err();
    assert!(fault.contains("authentication failed"), "{fault}");
    std::fs::write(&file, "right\n").unwrap();
    until_it_answers(&server).await;
}
