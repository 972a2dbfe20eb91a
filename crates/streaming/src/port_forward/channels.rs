//! Connections over channels: one for each port of the request, from the start, with two channels. The first message on
//! each says the port, two bytes of which the low one comes first.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::connection::{Forward, Inlet, inlet};
use crate::carrier::{Event, Gone, Writer};
use crate::server::Shared;
use crate::websocket::channels::Reader;

/// Serves until all connections have ended or the client is gone; its connections go with it.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    reader: &mut Reader,
    writer: &Writer,
    pod: &str,
    ports: &[u16],
) -> Result<(), Gone> {
    let mut running = JoinSet::new();
    let mut inlets: Vec<Inlet> = Vec::new();
    let pod: Arc<str> = pod.into();
    for (&port, channel) in ports.iter().zip((0..).step_by(2)) {
        let (data, error) = (writer.outlet(channel), writer.outlet(channel + 1));
        for outlet in [&data, &error] {
            outlet.send_text(&port.to_le_bytes(), &shared.buffers).await?;
        }
        let (inlet, incoming) = inlet();
        inlets.push(inlet);
        let forward = Forward { shared: shared.clone(), pod: pod.clone(), port, data, error };
        running.spawn(cradle_engine::request::scope(cradle_engine::request::current(), forward.run(incoming)));
    }
    let all_ended = async { while running.join_next().await.is_some() {} };
    let take = async {
        loop {
            let event = reader.next().await?;
            let (Event::Data { stream } | Event::Ended { stream }) = event else { continue };
            let inlet = usize::try_from(stream).ok().filter(|channel| channel % 2 == 0);
            match inlet.and_then(|channel| inlets.get_mut(channel / 2)) {
                Some(inlet) if matches!(event, Event::Ended { .. }) => inlet.end(),
                Some(inlet) => inlet.put(reader.data(), &shared.buffers).await,
                None => {}
            }
        }
    };
    tokio::select! {
        () = all_ended => Ok(()),
        gone = take => gone,
    }
}
