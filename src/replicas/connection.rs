//! One connection to a server. The only file that names the `redis` crate.

use std::sync::OnceLock;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion,
    RedisConnectionInfo, RedisError, TlsCertificates, Value,
};

use super::reply::ServerReply;
use super::settings::ServerSettings;

/// A Lua script that runs in the server.
pub(super) struct LuaScript {
    text: &'static str,
    hash: OnceLock<String>,
}

/// A command for a server.
pub(super) struct ServerCommand(Cmd);

/// An open connection, which carries any number of commands at once. It has no timeouts.
#[derive(Clone)]
pub(super) struct OpenedConnection(MultiplexedConnection);

/// Why a command has no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SendError {
    /// The server refused this command. It may accept others.
    Refused(String),
    /// The server refuses every write through this connection, for example because it is no longer a primary.
    Unusable(String),
    /// The connection broke. The command may have been carried out.
    Broken(String),
}

impl LuaScript {
    /// A script with this source text.
    pub(super) const fn new(text: &'static str) -> Self {
        Self { text, hash: OnceLock::new() }
    }

    /// A command that runs the script by its hash. The server refuses it with `NOSCRIPT` if it does not know the script.
    pub(super) fn by_hash(&self, keys: &[&[u8]], args: &[&[u8]]) -> ServerCommand {
        let hash = self.hash.get_or_init(|| redis::Script::new(self.text).get_hash().to_owned());
        Self::command("EVALSHA", hash, keys, args)
    }

    /// A command that sends the whole script and runs it. The server knows it from then on.
    pub(super) fn whole(&self, keys: &[&[u8]], args: &[&[u8]]) -> ServerCommand {
        Self::command("EVAL", self.text, keys, args)
    }

    fn command(first: &str, code: &str, keys: &[&[u8]], args: &[&[u8]]) -> ServerCommand {
        let mut command = redis::cmd(first);
        command.arg(code).arg(keys.len()).arg(keys).arg(args);
        ServerCommand(command)
    }
}

impl ServerCommand {
    /// A command from its words.
    pub(super) fn of(words: &[&[u8]]) -> Self {
        let mut command = Cmd::new();
        words.iter().for_each(|word| {
            command.arg(*word);
        });
        Self(command)
    }
}

impl SendError {
    /// The message.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Refused(text) | Self::Unusable(text) | Self::Broken(text) => text,
        }
    }
}

impl OpenedConnection {
    /// Opens a connection. Reads the files that the settings name.
    ///
    /// # Errors
    /// A sentence that says why the connection can't be opened.
    pub(super) async fn open(settings: &ServerSettings) -> Result<Self, String> {
        // Link sets the timeout of each call.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let client = client(settings).await?;
        let opened = client.get_multiplexed_async_connection_with_config(&config).await;
        opened.map(Self).map_err(|error| text_of(&error))
    }

    /// Sends a command, and waits for the reply.
    ///
    /// # Errors
    /// The server refuses the command, or the connection breaks.
    pub(super) async fn send(&self, command: &ServerCommand) -> Result<ServerReply, SendError> {
        let mut connection = self.0.clone();
        let replied = command.0.query_async::<Value>(&mut connection).await;
        replied.map(reply_of).map_err(|error| SendError::from(&error))
    }
}

impl From<&RedisError> for SendError {
    fn from(error: &RedisError) -> Self {
        const UNUSABLE: [&str; 6] = ["READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "MOVED"];
        let text = text_of(error);
        match error.code() {
            Some(code) if UNUSABLE.contains(&code) => Self::Unusable(text),
            Some(_) => Self::Refused(text),
            None => Self::Broken(text),
        }
    }
}

async fn client(settings: &ServerSettings) -> Result<Client, String> {
    let ServerSettings { address, user, password_file, ca_file, .. } = settings;
    let addr = if address.is_tls {
        ConnectionAddr::TcpTls {
            host: address.host.clone(),
            port: address.port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(address.host.clone(), address.port)
    };
    // A user may lack the permission for CLIENT and HELLO.
    let mut login = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP2)
        .set_skip_set_lib_name()
        .set_db(i64::from(address.database));
    if let Some(user) = user {
        login = login.set_username(user);
    }
    if let Some(file) = password_file {
        let text = tokio::fs::read_to_string(file).await;
        let text = text.map_err(|error| format!("--tier-password-file: {error}"))?;
        login = login.set_password(text.trim());
    }
    let info = addr.into_connection_info().map_err(|error| text_of(&error))?;
    let info = info.set_redis_settings(login).set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let root_cert = match ca_file {
        Some(file) => {
            let pem = tokio::fs::read(file).await;
            Some(pem.map_err(|error| format!("--tier-ca-file: {error}"))?)
        }
        None => None,
    };
    let client = if address.is_tls {
        Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
    } else {
        Client::open(info)
    };
    client.map_err(|error| text_of(&error))
}

fn reply_of(value: Value) -> ServerReply {
    match value {
        Value::Int(number) => ServerReply::Number(number),
        Value::BulkString(bytes) => ServerReply::Bytes(bytes),
        Value::SimpleString(text) => ServerReply::Bytes(text.into_bytes()),
        Value::Okay => ServerReply::Bytes(b"OK".to_vec()),
        Value::Array(values) => ServerReply::List(values.into_iter().map(reply_of).collect()),
        Value::Nil
        | Value::Map(_)
        | Value::Attribute { .. }
        | Value::Set(_)
        | Value::Double(_)
        | Value::Boolean(_)
        | Value::VerbatimString { .. }
        | Value::BigNumber(_)
        | Value::Push { .. }
        | Value::ServerError(_)
// The others belong to RESP3, which is not spoken here.
        | _ => ServerReply::Nil,
    }
}

fn text_of(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}
