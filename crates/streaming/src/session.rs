//! A session: what is done on a connection after its upgrade, whatever carries its streams.

use std::sync::Arc;

use cradle_domain::failure::Chain;
use tokio::sync::watch;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::activity::Activity;
use crate::carrier::{Gone, ReadHalf, Reader, WriteHalf, Writer};
use crate::flag::raised;
use crate::negotiation::{Carrier, Protocol};
use crate::port_forward;
use crate::remote_command::{self, Command};
use crate::request::Request;
use crate::server::Shared;
use crate::socket::{Connection, Hangup};
use crate::spdy;
use crate::tokens::Asked;
use crate::websocket::channels;
use crate::websocket::tunnel::Tunnel;

/// What every kind of session stands on.
pub(crate) struct Session {
    pub shared: Arc<Shared>,
    pub reader: Reader,
    pub writer: Writer,
    pub protocol: &'static Protocol,
    pub cutter: Cutter,
}

/// Why a session ends before it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing has moved for too long.
    Idle,
    /// The daemon stops.
    Stopping,
    /// The client's connection has broken.
    HungUp,
}

/// Waits for what cuts a session short.
pub(crate) struct Cutter {
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    hangup: Hangup,
    stop: watch::Receiver<bool>,
}

impl Cutter {
    pub async fn cut(&mut self) -> Cut {
        tokio::select! {
            () = self.activity.idle(self.shared.config.idle_timeout) => Cut::Idle,
            () = raised(&mut self.stop) => Cut::Stopping,
            () = self.hangup.happened() => Cut::HungUp,
        }
    }

    /// Lets the connection go, and waits until the daemon stops.
    pub async fn stopping(self) {
        let Cutter { hangup, mut stop, .. } = self;
        drop(hangup);
        raised(&mut stop).await;
    }
}

pub(crate) async fn run(
    shared: Arc<Shared>,
    connection: Connection,
    asked: Asked,
    protocol: &'static Protocol,
    stop: watch::Receiver<bool>,
) {
    let Asked { request, request_id } = asked;
    let span = info_span!("stream", kind = request.kind(), object = request.object(), %request_id);
    let hangup = match connection.hangup() {
        Ok(hangup) => hangup,
        Err(error) => return span.in_scope(|| warn!(%error, "a session cannot begin")),
    };
    let activity = Arc::new(Activity::begin());
    let (reader, writer) = carry(&shared, connection, protocol, &activity);
    let cutter = Cutter { shared: shared.clone(), activity, hangup, stop };
    let session = Session { shared, reader, writer, protocol, cutter };
    let work = async {
        debug!(protocol = protocol.name, "begins");
        let ended = match request {
            Request::Exec { container, command, wanted } => {
                remote_command::run(session, Command::Exec(command), &container, wanted).await
            }
            Request::Attach { container, wanted } => {
                remote_command::run(session, Command::Attach, &container, wanted).await
            }
            Request::PortForward { pod, ports } => port_forward::run(session, &pod, &ports).await,
        };
        match ended {
            Ok(()) | Err(Gone::Left) => debug!("over"),
            Err(gone) => info!(reason = %Chain(&gone), "ended"),
        }
    };
    cradle_engine::request::scope(request_id, work.instrument(span)).await;
}

/// Puts what carries the streams on the connection.
fn carry(shared: &Shared, connection: Connection, protocol: &Protocol, activity: &Arc<Activity>) -> (Reader, Writer) {
    let spdy = |(read, write): (ReadHalf, WriteHalf)| {
        let writer = Arc::new(spdy::Writer::new(write, activity.clone()));
        let reader = spdy::Reader::new(read, shared.buffers.clone(), writer.clone());
        (Reader::Spdy(reader), Writer::Spdy(writer))
    };
    match protocol.carrier {
        Carrier::Spdy => spdy(connection.split()),
        Carrier::SpdyInWebSocket => {
            let (read, write) = tokio::io::split(Tunnel::new(connection, shared.buffers.clone()));
            spdy((Box::new(read), Box::new(write)))
        }
        Carrier::Channels(framing) => {
            let (reader, writer) = channels::open(connection, framing, activity);
            (Reader::Channels(reader), Writer::Channels(writer))
        }
    }
}
