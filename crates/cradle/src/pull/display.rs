//! Layers as text: a frame of lines for a terminal, one line for a layer that is here, one for the whole pull.

use std::time::{Duration, Instant};

use super::layers::{Layer, LayerState, Layers, per_second};
use crate::table::size;

const BAR_MAX: usize = 30;
const BAR_MIN: usize = 5;

/// What a terminal shows of the layers at one moment: lines that fit into `columns`, and not more than `rows` of them.
pub fn frame(layers: &Layers, columns: usize, rows: usize, now: Instant) -> Vec<String> {
    let (shown, left): (Vec<&Layer>, Vec<&Layer>) = if layers.all.len() <= rows {
        (layers.all.iter().collect(), Vec::new())
    } else {
        // Those that move, then those that will; the last row is for the rest.
        let rank = |layer: &&Layer| match layer.state {
            LayerState::Fetching => 0,
            LayerState::Waiting => 1,
            LayerState::Done | LayerState::Present => 2,
        };
        let mut ordered: Vec<&Layer> = layers.all.iter().collect();
        ordered.sort_by_key(rank);
        let left = ordered.split_off(rows.saturating_sub(1));
        (ordered, left)
    };
    let lines = shown.into_iter().map(|layer| line(layer, columns, now));
    let rest = (!left.is_empty()).then(|| rest(&left));
    let cut = |line: String| line.chars().take(columns).collect();
    lines.chain(rest).map(cut).take(rows).collect()
}

/// Layers that there is no room for.
fn rest(layers: &[&Layer]) -> String {
    let here = layers.iter().filter(|layer| layer.is_here()).count();
    format!("and {} more layers, {here} of them here", layers.len())
}

fn line(layer: &Layer, columns: usize, now: Instant) -> String {
    match layer.state {
        LayerState::Waiting => format!("{}  waiting", layer.id),
        LayerState::Fetching if layer.is_fetched() => {
            format!("{}  {} fetched, unpacking", layer.id, size(layer.total_bytes))
        }
        LayerState::Fetching => {
            let figures = format!("{} of {}", size(layer.done_bytes), size(layer.total_bytes));
            let text = format!("  {figures:<20}  {}/s", size(layer.speed(now)));
            let room = columns.saturating_sub(layer.id.len() + 2 + text.len()).min(BAR_MAX);
            let bar = if room < BAR_MIN { String::new() } else { bar(layer, room) };
            format!("{}  {bar}{text}", layer.id)
        }
        LayerState::Present | LayerState::Done => ended(layer),
    }
}

/// `[=====>    ]`, `width` wide.
fn bar(layer: &Layer, width: usize) -> String {
    let inner = width - 2;
    let share = u128::from(layer.done_bytes.min(layer.total_bytes)) * inner as u128;
    let full = usize::try_from(share / u128::from(layer.total_bytes.max(1))).unwrap_or(inner);
    let head = if full < inner { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(full), " ".repeat(inner - full - head.len()))
}

/// A layer that is here.
pub fn ended(layer: &Layer) -> String {
    let bytes = size(layer.total_bytes);
    match (layer.state, layer.took()) {
        (LayerState::Present, _) => format!("{}  already exists", layer.id),
        (_, Some(took)) => {
            format!("{}  {bytes} in {} ({}/s)", layer.id, seconds(took), size(per_second(layer.total_bytes, took)))
        }
        (_, None) => format!("{}  {bytes}", layer.id),
    }
}

/// The whole pull.
pub fn summary(layers: &Layers, image: &str, now: Instant) -> String {
    let fetched = || layers.all.iter().filter(|layer| layer.state == LayerState::Done);
    let (count, time) = (layers.all.len(), seconds(layers.elapsed(now)));
    match fetched().count() {
        0 => format!("{image}: everything was here already ({time})"),
        some => {
            let bytes = fetched().map(|layer| layer.total_bytes).sum();
            format!("{image}: {some} of {count} layers fetched, {} in {time}", size(bytes))
        }
    }
}

fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 0.1 => format!("{} ms", time.as_millis()),
        some if some < 60.0 => format!("{some:.1} s"),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use cradle_cri_api::cradle_v1::LayerProgress;

    use super::*;

    fn told(number: usize, state: LayerState, done_bytes: u64) -> LayerProgress {
        let digest = format!("sha256:{number:012}ffff");
        LayerProgress { digest, state: state.into(), done_bytes, total_bytes: 10_000_000 }
    }

    /// Layers in every state, two seconds after the pull began.
    fn layers() -> (Layers, Instant) {
        let begun = Instant::now();
        let mut layers = Layers::new(begun);
        layers.update(
            &[
                told(1, LayerState::Present, 10_000_000),
                told(2, LayerState::Fetching, 0),
                told(3, LayerState::Fetching, 0),
                told(4, LayerState::Waiting, 0),
                told(5, LayerState::Fetching, 0),
            ],
            begun,
        );
        let now = begun + Duration::from_secs(2);
        layers.update(
            &[
                told(2, LayerState::Fetching, 5_000_000),
                told(3, LayerState::Done, 10_000_000),
                told(5, LayerState::Fetching, 10_000_000),
            ],
            now,
        );
        (layers, now)
    }

    #[test]
    fn each_layer_has_a_line_that_says_how_far_it_is() {
        let (layers, now) = layers();
        assert_eq!(
            frame(&layers, 80, 10, now),
            [
                "000000000001  already exists",
                "000000000002  [==============>             ]  5.00 MB of 10.0 MB    2.50 MB/s",
                "000000000003  10.0 MB in 2.0 s (5.00 MB/s)",
                "000000000004  waiting",
                "000000000005  10.0 MB fetched, unpacking",
            ]
        );
    }

    #[test]
    fn a_narrow_terminal_gets_shorter_bars_then_none_and_never_a_longer_line() {
        let (layers, now) = layers();
        assert_eq!(frame(&layers, 60, 10, now)[1], "000000000002  [=====>     ]  5.00 MB of 10.0 MB    2.50 MB/s");
        assert_eq!(frame(&layers, 50, 10, now)[1], "000000000002    5.00 MB of 10.0 MB    2.50 MB/s");
        for columns in 0..100 {
            assert!(frame(&layers, columns, 10, now).iter().all(|line| line.chars().count() <= columns));
        }
    }

    #[test]
    fn a_low_terminal_shows_the_layers_that_move() {
        let (layers, now) = layers();
        let shown = frame(&layers, 80, 4, now);
        assert_eq!(shown.len(), 4);
        assert!(shown[0].starts_with("000000000002") && shown[1].starts_with("000000000005"), "{shown:?}");
        assert_eq!(shown[3], "and 2 more layers, 2 of them here");
        for rows in 0..6 {
            assert!(frame(&layers, 80, rows, now).len() <= rows);
        }
    }

    #[test]
    fn the_bar_is_empty_at_the_beginning_and_full_at_the_end() {
        let (mut layers, _) = layers();
        let layer = &mut layers.all[1];
        for (done, expected) in
            [(0, "[>       ]"), (10_000_000, "[========]"), (20_000_000, "[========]"), (9_999_999, "[=======>]")]
        {
            layer.done_bytes = done;
            assert_eq!(bar(layer, 10), expected);
        }
        layer.total_bytes = 0;
        assert_eq!(bar(layer, 10), "[>       ]");
    }

    #[test]
    fn the_summary_counts_what_was_fetched() {
        let (mut layers, now) = layers();
        assert_eq!(summary(&layers, "a:1", now), "a:1: 1 of 5 layers fetched, 10.0 MB in 2.0 s");
        layers.all.truncate(1);
        assert_eq!(summary(&layers, "a:1", now), "a:1: everything was here already (2.0 s)");
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        for (millis, text) in [(7, "7 ms"), (100, "0.1 s"), (59_940, "59.9 s"), (61_000, "1 min 1 s")] {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
    }
}
