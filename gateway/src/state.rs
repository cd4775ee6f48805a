//! What every handler can reach.

use quire_clock::World;
use quire_limit::Limiter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::metrics::Requests;
use crate::streams::Streams;
use crate::upstream::Upstream;

pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) limiter: Limiter,
    pub(crate) upstream: Upstream,
    pub(crate) streams: Streams,
    /// Open WebSockets, which belong to no request.
    pub(crate) sockets: TaskTracker,
    pub(crate) requests: Requests,
    pub(crate) world: World,
    /// Ends open streams, so that a shutdown does not wait for their readers.
    pub(crate) shutdown: CancellationToken,
}

pub(crate) type Shared = axum::extract::State<std::sync::Arc<State>>;
