//! As much of HTTP as it takes to see whether a pod answers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const WITHIN: Duration = Duration::from_secs(5);

/// The whole answer of `http://ADDRESS:PORT/`.
pub async fn get(address: &str, port: u16) -> Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect((address, port)).await?;
        stream.write_all(format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(WITHIN, asked).await;
    let answer = answer.with_context(|| format!("{address}:{port} is silent"))?;
    let answer = answer.with_context(|| format!("asking {address}:{port}"))?;
    ensure!(answer.contains(" 200 "), "{address}:{port} answered {:?}", answer.lines().next());
    Ok(answer)
}
