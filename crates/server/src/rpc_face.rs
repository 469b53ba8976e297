//! The RPC port's side of the road: calls of other agents, in their wire form.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use rpc::{RpcHandler, ServeError, unknown_method};

use crate::core::Core;
use crate::forward::Answer;

/// Answers calls that come in on port 8300.
pub(crate) struct RpcFace(pub Arc<Core>);

impl RpcHandler for RpcFace {
    fn call<'a>(
        &'a self,
        method: &'a str,
        args: Bytes,
        _peer: SocketAddr,
    ) -> BoxFuture<'a, Result<Bytes, ServeError>> {
        Box::pin(async move {
            let Some(endpoint) = self.0.registry.get(method) else { return Err(unknown_method(method)) };
            let decoded = endpoint
                .decode_args(&args)
                .map_err(|error| ServeError::Protocol(format!("codec.decoder: {error}")))?;
            match self.0.dispatch(endpoint, decoded, Some(args), None).await? {
                Answer::Elsewhere(reply) => Ok(reply),
                Answer::Here(reply) => {
                    endpoint.encode_reply(&reply, &self.0.encoded).map_err(ServeError::from)
                }
            }
        })
    }
}
