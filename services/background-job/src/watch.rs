//! Streams that their caller may read only as long as its session lasts.

use std::future::Future;

use futures::{Stream, StreamExt};
use quire_fault::Fault;
use tonic::Status;

/// The items of a stream until `ended` says that the caller's session is over: then that, and nothing more.
pub fn until_ended<T: Send>(
    items: impl Stream<Item = Result<T, Status>> + Send,
    ended: impl Future<Output = Fault> + Send,
) -> impl Stream<Item = Result<T, Status>> + Send {
    async_stream::stream! {
        tokio::pin!(items, ended);
        loop {
            let next = tokio::select! {
                // The end first: whoever may no longer read gets nothing more, however much is waiting.
                biased;
                fault = &mut ended => Err(fault),
                item = items.next() => Ok(item),
            };
            match next {
                Ok(Some(item)) => yield item,
                Ok(None) => return,
                Err(fault) => {
                    yield Err(fault.into());
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::stream;
    use quire_fault::Kind;

    use super::*;

    fn over() -> Fault {
        Fault::new(Kind::Unauthenticated, "SESSION_ENDED", "over")
    }

    #[tokio::test]
    async fn a_stream_ends_by_itself_while_the_session_lasts() {
        let items = stream::iter([Ok(1), Ok(2)]);
        let seen: Vec<_> = until_ended(items, pending()).map(|item| item.ok()).collect().await;
        assert_eq!(seen, [Some(1), Some(2)]);
    }

    #[tokio::test]
    async fn the_end_of_the_session_comes_before_what_is_waiting() {
        let items = stream::iter([Ok(1), Ok(2)]);
        let seen: Vec<_> = until_ended(items, ready(over())).collect().await;
        let codes: Vec<_> = seen.iter().map(|item| item.as_ref().map_err(Status::code)).collect();
        assert_eq!(codes, [Err(tonic::Code::Unauthenticated)]);
    }

    #[tokio::test]
    async fn the_end_of_the_session_does_not_wait_for_an_item() {
        let items = stream::pending::<Result<i32, Status>>();
        let seen: Vec<_> = until_ended(items, ready(over())).collect().await;
        assert_eq!(seen.len(), 1);
    }
}
