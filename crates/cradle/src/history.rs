//! `cradle history`: the steps that made an image, as docker shows them.

use std::process::ExitCode;

use cradle_cri_api::cradle_v1::DescribeImageResponse;
use serde::Deserialize;

use crate::arguments::History;
use crate::client::Client;
use crate::error::Error;
use crate::image_inspect::describe;
use crate::{output, table, time};

/// Longest step that is shown whole.
const STEP_MAX_CHARS: usize = 45;

/// What stands in place of an id where docker's builder of old had one.
const NO_ID: &str = "<missing>";

/// The part of an image's configuration that tells of its making (OCI image-spec, config.md).
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    history: Option<Vec<Step>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Step {
    created: Option<String>,
    created_by: Option<String>,
    comment: Option<String>,
    empty_layer: bool,
}

/// A line to be shown.
struct Line {
    created: String,
    created_by: String,
    comment: String,
    bytes: u64,
}

pub async fn history(client: &mut Client, history: &History) -> Result<ExitCode, Error> {
    let image = describe(client, &history.image).await?;
    let lines = lines(&image)?;
    let id = |at: usize| if at == 0 { &image.id } else { NO_ID };
    if history.quiet {
        (0..lines.len()).try_for_each(|at| output::line(id(at)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = lines.iter().enumerate().map(|(at, line)| row(id(at), line, history.no_trunc)).collect();
    table::print(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn row(id: &str, line: &Line, whole: bool) -> Vec<String> {
    let step = line.created_by.replace(['\n', '\t'], " ");
    let is_short = whole || step.chars().count() <= STEP_MAX_CHARS;
    vec![
        if whole || id == NO_ID { id.to_owned() } else { table::short_id(id) },
        time::ago(&line.created),
        if is_short { step } else { step.chars().take(STEP_MAX_CHARS - 1).chain(['…']).collect() },
        table::size(line.bytes),
        line.comment.clone(),
    ]
}

/// The steps, the latest first, each with the size of the layer that it made. Layers of which nothing is told are steps
/// as well.
fn lines(image: &DescribeImageResponse) -> Result<Vec<Line>, Error> {
    let config: Config = serde_json::from_slice(&image.config)
        .map_err(|error| Error::Local(format!("the image's configuration cannot be read: {error}")))?;
    let created = config.created.unwrap_or_default();
    let mut layers = image.layers.iter().map(|layer| layer.unpacked_bytes);
    let mut lines: Vec<Line> = Vec::new();
    for step in config.history.unwrap_or_default() {
        lines.push(Line {
            created: step.created.unwrap_or_default(),
            created_by: step.created_by.unwrap_or_default(),
            comment: step.comment.unwrap_or_default(),
            bytes: if step.empty_layer { 0 } else { layers.next().unwrap_or_default() },
        });
    }
    lines.extend(layers.map(|bytes| Line {
        created: created.clone(),
        created_by: String::new(),
        comment: String::new(),
        bytes,
    }));
    lines.reverse();
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use cradle_cri_api::cradle_v1::ImageLayer;

    use super::*;

    fn image(config: &str, layers: &[u64]) -> DescribeImageResponse {
        let layer = |bytes: &u64| ImageLayer { unpacked_bytes: *bytes, ..Default::default() };
        DescribeImageResponse {
            config: config.as_bytes().to_vec(),
            layers: layers.iter().map(layer).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn steps_have_the_sizes_of_their_layers() {
        let config = r#"{"history": [
            {"created_by": "ADD file"},
            {"created_by": "CMD [\"sh\"]", "empty_layer": true, "comment": "buildkit"},
            {"created_by": "COPY a"}]}"#;
        let lines = lines(&image(config, &[10, 20, 30])).unwrap();
        let shown: Vec<_> = lines.iter().map(|line| (line.created_by.as_str(), line.bytes)).collect();
        assert_eq!(shown, [("", 30), ("COPY a", 20), ("CMD [\"sh\"]", 0), ("ADD file", 10)]);
        assert_eq!(lines[2].comment, "buildkit");
        assert!(super::lines(&image("{", &[])).is_err());
        assert_eq!(super::lines(&image("{}", &[7])).unwrap().len(), 1);
    }

    #[test]
    fn a_long_step_is_cut_unless_all_of_it_is_wanted() {
        let line = Line {
            created: "2026-01-01T00:00:00Z".into(),
            created_by: format!("RUN\t{}", "é".repeat(60)),
            comment: String::new(),
            bytes: 1000,
        };
        let short = row("sha256:0123456789abcdef", &line, false);
        assert_eq!((short[0].as_str(), short[2].chars().count(), short[3].as_str()), ("0123456789ab", 45, "1.00 kB"));
        assert!(short[2].ends_with('…') && short[1].ends_with(" ago"));
        let whole = row("sha256:0123456789abcdef", &line, true);
        assert_eq!((whole[0].as_str(), whole[2].chars().count()), ("sha256:0123456789abcdef", 64));
        assert_eq!(row(NO_ID, &line, false)[0], NO_ID);
    }
}
