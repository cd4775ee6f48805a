//! The work beside the server: neither goes on without the other.

use std::future::Future;

use quire_serve::grpc::ServeError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::StartError;

/// Serves until the server ends, and then ends the tasks. A task that ends before `stop` ends the server.
///
/// # Errors
/// The server's, or a task panicked or ended by itself.
pub async fn beside(
    served: impl Future<Output = Result<(), ServeError>>,
    mut tasks: JoinSet<()>,
    stop: CancellationToken,
) -> Result<(), StartError> {
    tokio::pin!(served);
    let mut broken = None;
    let served = loop {
        tokio::select! {
            served = &mut served => break served,
            Some(ended) = tasks.join_next() => {
                let early = !stop.is_cancelled();
                broken = broken.or(match ended {
                    Err(error) => Some(StartError::Worker(error)),
                    Ok(()) if early => Some(StartError::WorkerEnded),
                    Ok(()) => None,
                });
                if broken.is_some() {
                    stop.cancel();
                }
            }
        }
    };
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        broken = broken.or(ended.err().map(StartError::Worker));
    }
    match broken {
        Some(error) => Err(error),
        None => Ok(served?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that only ends when it is told to.
    async fn server(stop: CancellationToken) -> Result<(), ServeError> {
        stop.cancelled().await;
        Ok(())
    }

    fn tasks(stop: &CancellationToken, odd: impl Future<Output = ()> + Send + 'static) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let stop = stop.clone();
        tasks.spawn(async move { stop.cancelled().await });
        tasks.spawn(odd);
        tasks
    }

    #[tokio::test]
    async fn a_task_that_panics_or_ends_by_itself_ends_the_server_with_an_error() {
        let stop = CancellationToken::new();
        let set = tasks(&stop, async { panic!("the worker breaks") });
        let ended = beside(server(stop.clone()), set, stop).await;
        assert!(matches!(&ended, Err(StartError::Worker(error)) if error.is_panic()), "{ended:?}");

        let stop = CancellationToken::new();
        let set = tasks(&stop, async {});
        let ended = beside(server(stop.clone()), set, stop).await;
        assert!(matches!(ended, Err(StartError::WorkerEnded)), "{ended:?}");
    }

    #[tokio::test]
    async fn after_the_shutdown_every_task_may_end() {
        let stop = CancellationToken::new();
        let ends = stop.clone();
        let set = tasks(&stop, async move { ends.cancel() });
        beside(server(stop.clone()), set, stop).await.unwrap();
    }
}
