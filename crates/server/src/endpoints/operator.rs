//! `Operator`: the Raft configuration and autopilot.

use std::sync::Arc;

use model::error::RpcError;
use model::methods::{
    OperatorAutopilotGetConfiguration, OperatorAutopilotSetConfiguration, OperatorAutopilotState,
    OperatorRaftGetConfiguration, OperatorRaftRemovePeerByAddress, OperatorRaftRemovePeerById,
    OperatorServerHealth,
};
use model::operator::{
    AutopilotConfig, AutopilotHealthReply, AutopilotSetConfigRequest, AutopilotState,
    RaftConfigurationResponse, RaftRemovePeerRequest, RaftServer,
};
use model::options::DcSpecificRequest;
use model::scalar::Empty;
use state::Answer;

use super::refuse;
use crate::core::{CommandType, Core};
use crate::registry::Registry;

pub(super) fn register(registry: &mut Registry) {
    registry.call::<OperatorRaftGetConfiguration, _, _>(raft_configuration);
    registry.call::<OperatorRaftRemovePeerByAddress, _, _>(remove_by_address);
    registry.call::<OperatorRaftRemovePeerById, _, _>(remove_by_id);
    registry.call::<OperatorAutopilotGetConfiguration, _, _>(autopilot_configuration);
    registry.call::<OperatorAutopilotSetConfiguration, _, _>(set_autopilot_configuration);
    registry.call::<OperatorAutopilotState, _, _>(autopilot_state);
    registry.call::<OperatorServerHealth, _, _>(server_health);
}

async fn raft_configuration(
    core: Arc<Core>,
    _: DcSpecificRequest,
) -> Result<RaftConfigurationResponse, RpcError> {
    let leader = core.leader();
    let state = core.raft.state();
    let servers = state.members.iter().map(|member| {
        let known = core.lookup.get(member.id);
        RaftServer {
            address: known.as_ref().map_or(member.address, |server| server.rpc).to_string(),
            id: member.id.to_string(),
            leader: Some(member.id) == leader,
            protocol_version: known
                .as_ref()
                .map(|server| server.raft_version.to_string())
                .unwrap_or_default(),
            node: known.map_or_else(|| "(unknown)".to_owned(), |server| server.name),
            voter: member.voter,
        }
    });
    // The reference never fills the index in, and its clients print it.
    Ok(RaftConfigurationResponse { servers: servers.collect(), index: 0 })
}

async fn remove_by_address(core: Arc<Core>, args: RaftRemovePeerRequest) -> Result<Empty, RpcError> {
    let found = core.raft.membership().into_iter().find(|member| {
        let now = core.address_of(member.id).unwrap_or(member.address);
        now.to_string() == args.address || member.address.to_string() == args.address
    });
    match found {
        Some(member) => remove(&core, member.id).await,
        None => refuse(format!("address {:?} was not found in the Raft configuration", args.address)),
    }
}

async fn remove_by_id(core: Arc<Core>, args: RaftRemovePeerRequest) -> Result<Empty, RpcError> {
    match core.raft.membership().into_iter().find(|member| member.id.to_string() == args.id) {
        Some(member) => remove(&core, member.id).await,
        None => refuse(format!("id {:?} was not found in the Raft configuration", args.id)),
    }
}

async fn remove(core: &Core, id: consensus::ServerId) -> Result<Empty, RpcError> {
    core.raft.remove(id).await.map_err(|error| RpcError::from_text(error.to_string()))?;
    tracing::warn!(target: "server.operator", id = %id, "removed a Raft peer by hand");
    Ok(Empty {})
}

async fn autopilot_configuration(core: Arc<Core>, _: DcSpecificRequest) -> Result<AutopilotConfig, RpcError> {
    Ok(core.autopilot_config())
}

async fn set_autopilot_configuration(
    core: Arc<Core>,
    args: AutopilotSetConfigRequest,
) -> Result<bool, RpcError> {
    match core.propose(CommandType::Autopilot, &args).await? {
        Answer::Bool(written) => Ok(written),
        _ => Ok(true),
    }
}

async fn autopilot_state(core: Arc<Core>, _: DcSpecificRequest) -> Result<AutopilotState, RpcError> {
    Ok(core.leader_only.autopilot.state())
}

async fn server_health(core: Arc<Core>, _: DcSpecificRequest) -> Result<AutopilotHealthReply, RpcError> {
    Ok(core.leader_only.autopilot.health())
}
