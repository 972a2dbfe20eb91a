//! Pulls images into a store of its own and tells the time: for measuring the pipeline without the daemon.
//!
//! `cargo run --release -p cradle-images --example pull -- ROOT CERTS_D REFERENCE…`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cradle_domain::{ContainerId, Reference};
use cradle_engine::ports::{Images, PullRequest};
use cradle_images::{Store, StoreConfig};
use cradle_registry::{Client, RegistryConfig};
use tokio::task::JoinSet;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(root), Some(certs), references) = (arguments.next(), arguments.next(), arguments) else {
        return Err("usage: pull ROOT CERTS_D REFERENCE…".into());
    };
    let registry = RegistryConfig { config_path: Some(PathBuf::from(certs)), ..RegistryConfig::default() };
    let store = Store::open(StoreConfig::new(PathBuf::from(root)), Arc::new(Client::new(registry)))?;
    let begun = Instant::now();
    let mut pulls = JoinSet::new();
    for reference in references {
        let (store, reference) = (store.clone(), Reference::parse(&reference)?);
        pulls.spawn(async move {
            let request = PullRequest { reference, credentials: None, progress: None };
            (request.reference.clone(), store.pull(request).await)
        });
    }
    while let Some(pulled) = pulls.join_next().await {
        let (reference, outcome) = pulled?;
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(image) => {
                println!("{seconds:.3} s {reference}: {} layers, {} bytes", image.layers.len(), image.size_bytes);
            }
            Err(failure) => println!("{seconds:.3} s {failure}"),
        }
    }
    if let Some(image) = store.list().first() {
        let mut times = Vec::new();
        for number in 0..100u8 {
            let container = ContainerId::from_random([number; 32]);
            let begun = Instant::now();
            store.prepare(&container, &image.id, None).await.map_err(|failure| failure.to_string())?;
            times.push(begun.elapsed());
            store.discard(&container).await.map_err(|failure| failure.to_string())?;
        }
        times.sort();
        println!("making a writable layer: half within {:?}, all within {:?}", times[50], times[99]);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    status
        .lines()
        .filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"))
        .for_each(|line| println!("{line}"));
    Ok(())
}
