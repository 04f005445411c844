use std::time::Duration;

/// The longest time from the first byte of a request's head to its last.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a connection may stay idle.
///
/// Longer than the 60 s for which load balancers keep idle connections by default, so that they close first and never
/// send a request into a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// The most connections, even if more files may be open.
const MOST_CONNECTIONS: usize = 16_384;

/// The fewest connections, even if fewer files may be open.
const LEAST_CONNECTIONS: usize = 64;

/// File handles reserved for everything except clients: the admin listener, upstream, logs, reloaded files.
const RESERVED_HANDLES: usize = 256;

/// The most connections to the admin listener, which has probes and a scraper or two.
const ADMIN_CONNECTIONS: usize = 64;

/// The most bytes of all unfinished request heads together, beyond 8 KiB each.
const HEAD_BYTES: usize = 32 * 1024 * 1024;

/// How long clients may take to receive the last bytes when the process stops.
const FLUSH_GRACE: Duration = Duration::from_secs(2);

/// What a server allows its clients.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// How long a request's head may take from its first byte to its last.
    pub head_timeout: Duration,
    /// How long a connection without a request may stay idle.
    pub idle_timeout: Duration,
    /// How long a client may read nothing although bytes are ready for it.
    pub stall_timeout: Duration,
    /// How long responses that were asked to end may take to reach their clients.
    pub flush_grace: Duration,
    /// The most connections at a time. For more, idle ones are closed; if none is idle, new ones wait in the listener's queue.
    pub connections: usize,
    /// The most bytes of all unfinished request heads together, beyond 8 KiB each.
    pub head_bytes: usize,
}

impl ServerLimits {
    /// The limits of the public listener, for a process that may open this many files.
    pub fn public(stall_timeout: Duration, file_handles: Option<usize>) -> Self {
        let connections = file_handles.map_or(LEAST_CONNECTIONS, |handles| {
            handles.saturating_sub(RESERVED_HANDLES).clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS)
        });
        Self {
            head_timeout: HEAD_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            stall_timeout,
            flush_grace: FLUSH_GRACE,
            connections,
            head_bytes: HEAD_BYTES,
        }
    }

    /// The limits of the admin listener.
    pub fn admin(stall_timeout: Duration) -> Self {
        Self { connections: ADMIN_CONNECTIONS, ..Self::public(stall_timeout, None) }
    }
}
