//! Lets hickory-resolver run without an async runtime: one whole exchange with the servers happens inside a
//! single poll. A future is pending only while another thread asks the same question, so no reactor, timer
//! or thread is needed.
//!
//! hickory asks for the type of a runtime all the same: [`NoRuntime`], which is never called.

use super::ask::Servers;
use super::{DnsFault, Trouble};
use async_trait::async_trait;
use futures_io::{AsyncRead, AsyncWrite};
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use hickory_resolver::net::xfer::{DnsHandle, DnsResponseStream};
use hickory_resolver::proto::op::DnsRequest;
use hickory_resolver::{ConnectionProvider, PoolContext};
use std::future::{Future, Ready, ready};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

/// The servers, as hickory takes them: a provider of connections that is its only connection.
#[derive(Clone)]
pub struct Driver {
    servers: Arc<Servers>,
    runtime: NoRuntime,
}

impl Driver {
    pub fn new(servers: Arc<Servers>) -> Driver {
        Driver { servers, runtime: NoRuntime }
    }
}

impl DnsHandle for Driver {
    type Response = DnsResponseStream;
    type Runtime = NoRuntime;

    fn send(&self, request: DnsRequest) -> DnsResponseStream {
        let servers = self.servers.clone();
        let (question, _) = request.into_parts();
        let exchange = async move { servers.ask(&question).map_err(as_hickory) };
        DnsResponseStream::from(Box::pin(exchange))
    }
}

impl ConnectionProvider for Driver {
    type Conn = Driver;
    type FutureConn = Ready<Result<Driver, NetError>>;
    type RuntimeProvider = NoRuntime;

    fn new_connection(
        &self,
        _ip: IpAddr,
        _config: &ConnectionConfig,
        _context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        Ok(ready(Ok(self.clone())))
    }

    fn runtime_provider(&self) -> &NoRuntime {
        &self.runtime
    }
}

/// Packs trouble into a text that hickory passes on unchanged, without another try, to all threads that
/// asked the same question. Its lines are the kind, details, and the servers; all are printable, so none
/// has a line end inside. [`from_hickory`] unpacks it.
fn as_hickory(trouble: Trouble) -> NetError {
    let (kind, more) = match trouble.what {
        DnsFault::Timeout(time) => (TIMEOUT, time.as_millis().to_string()),
        DnsFault::ServFail => (SERVFAIL, String::new()),
        DnsFault::Refused => (REFUSED, String::new()),
        DnsFault::Broken(what) => (BROKEN, what),
    };
    NetError::Msg(format!("{kind}\n{more}\n{}", trouble.servers))
}

const TIMEOUT: &str = "timeout";
const SERVFAIL: &str = "servfail";
const REFUSED: &str = "refused";
const BROKEN: &str = "broken";

/// The trouble in an error of hickory: mostly our own, packed by [`as_hickory`].
pub fn from_hickory(error: &NetError) -> Trouble {
    let NetError::Msg(text) = error else { return DnsFault::broken(error).into() };
    let mut lines = text.splitn(3, '\n');
    let [kind, more, servers] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let what = match kind {
        TIMEOUT => DnsFault::Timeout(Duration::from_millis(more.parse().unwrap_or(0))),
        SERVFAIL => DnsFault::ServFail,
        REFUSED => DnsFault::Refused,
        BROKEN => DnsFault::Broken(more.to_owned()),
        _ => return DnsFault::broken(text).into(),
    };
    Trouble { what, servers: servers.to_owned() }
}

/// A runtime without functions.
#[derive(Clone, Copy)]
pub struct NoRuntime;

/// A socket that cannot exist.
pub enum NoSocket {}

type Opening = Pin<Box<dyn Send + Future<Output = io::Result<NoSocket>>>>;

impl RuntimeProvider for NoRuntime {
    type Handle = NoRuntime;
    type Timer = NoRuntime;
    type Udp = NoSocket;
    type Tcp = NoSocket;

    fn create_handle(&self) -> NoRuntime {
        NoRuntime
    }

    fn connect_tcp(
        &self,
        _server: SocketAddr,
        _bind: Option<SocketAddr>,
        _timeout: Option<Duration>,
    ) -> Opening {
        Box::pin(ready(Err(ErrorKind::Unsupported.into())))
    }

    fn bind_udp(&self, _local: SocketAddr, _server: SocketAddr) -> Opening {
        Box::pin(ready(Err(ErrorKind::Unsupported.into())))
    }
}

impl Spawn for NoRuntime {
    fn spawn_bg(&mut self, _future: impl Future<Output = ()> + Send + 'static) {}
}

#[async_trait]
impl Time for NoRuntime {
    async fn delay_for(duration: Duration) {
        thread::sleep(duration);
    }

    async fn timeout<F: Future + Send + 'static>(_: Duration, future: F) -> io::Result<F::Output> {
        Ok(future.await)
    }
}

impl DnsUdpSocket for NoSocket {
    type Time = NoRuntime;

    fn poll_recv_from(
        &self,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        match *self {}
    }

    fn poll_send_to(
        &self,
        _: &mut Context<'_>,
        _: &[u8],
        _: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        match *self {}
    }
}

impl AsyncRead for NoSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match *self {}
    }
}

impl AsyncWrite for NoSocket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl DnsTcpStream for NoSocket {
    type Time = NoRuntime;
}
