//! The configuration as `/v1/agent/self` shows it: the reference's field
//! names, durations as text, secrets hidden.

use std::time::Duration;

use model::definition::ServiceDefinition;
use model::duration::{GoDuration, format_go};
use serde_json::{Map, Value, json};

use super::runtime::{CheckDefinition, Gossip, Listen, RuntimeConfig};

fn time(duration: Duration) -> String {
    format_go(GoDuration::from(duration))
}

fn opt_time(duration: Option<Duration>) -> String {
    time(duration.unwrap_or_default())
}

/// A switched-off port is shown as -1.
fn port(port: Option<u16>) -> i32 {
    port.map_or(-1, i32::from)
}

/// The reference hides every token, key and secret whether or not it is set.
const HIDDEN: &str = "hidden";

fn listens(list: &[Listen]) -> Vec<String> {
    list.iter().map(Listen::to_string).collect()
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(T::to_string).collect()
}

impl RuntimeConfig {
    /// The value of `DebugConfig`.
    pub fn debug_json(&self) -> Value {
        let mut all = Map::new();
        for part in [
            self.debug_identity(),
            self.debug_net(),
            self.debug_pools(),
            self.debug_dns(),
            self.debug_http(),
            self.debug_security(),
            self.debug_definitions(),
            self.debug_behaviour(),
        ] {
            if let Value::Object(part) = part {
                all.extend(part);
            }
        }
        Value::Object(all)
    }

    fn debug_identity(&self) -> Value {
        json!({
            "Bootstrap": self.bootstrap,
            "BootstrapExpect": self.bootstrap_expect,
            "DataDir": self.data_dir,
            "Datacenter": self.datacenter,
            "DevMode": self.dev_mode,
            "DisableHostNodeID": self.disable_host_node_id,
            "NodeID": self.node_id.as_deref().unwrap_or_default(),
            "NodeMeta": self.node_meta,
            "NodeName": self.node_name,
            "PidFile": self.pid_file.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
            "PrimaryDatacenter": self.primary_datacenter,
            "PrimaryGateways": self.primary_gateways,
            "PrimaryGatewaysInterval": time(self.primary_gateways_interval),
            "ReadReplica": false,
            "Revision": "",
            "SegmentLimit": 64,
            "SegmentName": "",
            "SegmentNameLimit": 64,
            "Segments": [],
            "ServerMode": self.server,
            "Version": model::VERSION_SPOKEN,
            "VersionPrerelease": "",
        })
    }

    fn debug_net(&self) -> Value {
        let net = &self.net;
        json!({
            "AdvertiseAddrLAN": net.advertise_lan.to_string(),
            "AdvertiseAddrWAN": net.advertise_wan.to_string(),
            "BindAddr": net.bind_addr.to_string(),
            "ClientAddrs": texts(&net.client_addrs),
            "ConnectSidecarMaxPort": port(self.ports.sidecar_max),
            "ConnectSidecarMinPort": port(self.ports.sidecar_min),
            "DNSAddrs": net.dns.iter().flat_map(|a| [format!("tcp://{a}"), format!("udp://{a}")]).collect::<Vec<_>>(),
            "DNSPort": port(self.ports.dns),
            "ExposeMaxPort": port(self.ports.expose_max),
            "ExposeMinPort": port(self.ports.expose_min),
            "GRPCAddrs": listens(&net.grpc),
            "GRPCPort": port(self.ports.grpc),
            "HTTPAddrs": listens(&net.http),
            "HTTPPort": port(self.ports.http),
            "HTTPSAddrs": listens(&net.https),
            "HTTPSPort": port(self.ports.https),
            "RPCAdvertiseAddr": format!("tcp://{}", net.rpc_advertise),
            "RPCBindAddr": format!("tcp://{}", net.rpc_bind),
            "SerfAdvertiseAddrLAN": format!("tcp://{}", net.serf_lan_advertise),
            "SerfAdvertiseAddrWAN": net.serf_wan_advertise.map(|a| format!("tcp://{a}")).unwrap_or_default(),
            "SerfAllowedCIDRsLAN": texts(&net.serf_lan_allowed_cidrs),
            "SerfAllowedCIDRsWAN": texts(&net.serf_wan_allowed_cidrs),
            "SerfBindAddrLAN": format!("tcp://{}", net.serf_lan_bind),
            "SerfBindAddrWAN": net.serf_wan_bind.map(|a| format!("tcp://{a}")).unwrap_or_default(),
            "SerfPortLAN": port(self.ports.serf_lan),
            "SerfPortWAN": port(self.ports.serf_wan),
            "ServerPort": port(self.ports.server),
            "TaggedAddresses": net.tagged_addresses,
            "TranslateWANAddrs": net.translate_wan_addrs,
            "UnixSocketGroup": net.unix_socket.group,
            "UnixSocketMode": net.unix_socket.mode,
            "UnixSocketUser": net.unix_socket.user,
        })
    }

    fn debug_pools(&self) -> Value {
        let join = &self.join;
        let mut pools = Map::new();
        for (suffix, gossip) in [("LAN", &self.gossip_lan), ("WAN", &self.gossip_wan)] {
            gossip_fields(&mut pools, suffix, gossip);
        }
        let rest = json!({
            "AdvertiseReconnectTimeout": opt_time(join.advertise_reconnect_timeout),
            "AutopilotCleanupDeadServers": self.autopilot.cleanup_dead_servers,
            "AutopilotDisableUpgradeMigration": self.autopilot.disable_upgrade_migration,
            "AutopilotLastContactThreshold": time(self.autopilot.last_contact_threshold),
            "AutopilotMaxTrailingLogs": self.autopilot.max_trailing_logs,
            "AutopilotMinQuorum": self.autopilot.min_quorum,
            "AutopilotRedundancyZoneTag": self.autopilot.redundancy_zone_tag,
            "AutopilotServerStabilizationTime": time(self.autopilot.server_stabilization_time),
            "AutopilotUpgradeVersionTag": self.autopilot.upgrade_version_tag,
            "ConsulRaftElectionTimeout": time(self.raft.election_timeout),
            "ConsulRaftHeartbeatTimeout": time(self.raft.heartbeat_timeout),
            "ConsulRaftLeaderLeaseTimeout": time(self.raft.leader_lease_timeout),
            "ConsulServerHealthInterval": time(self.raft.server_health_interval),
            "RPCProtocol": self.protocol,
            "RaftProtocol": self.raft.protocol,
            "RaftSnapshotInterval": time(self.raft.snapshot_interval),
            "RaftSnapshotThreshold": self.raft.snapshot_threshold,
            "RaftTrailingLogs": self.raft.trailing_logs,
            "ReconnectTimeoutLAN": opt_time(join.reconnect_timeout_lan),
            "ReconnectTimeoutWAN": opt_time(join.reconnect_timeout_wan),
            "RejoinAfterLeave": join.rejoin_after_leave,
            "RetryJoinIntervalLAN": time(join.retry_interval_lan),
            "RetryJoinIntervalWAN": time(join.retry_interval_wan),
            "RetryJoinLAN": join.retry_lan,
            "RetryJoinMaxAttemptsLAN": join.retry_max_lan,
            "RetryJoinMaxAttemptsWAN": join.retry_max_wan,
            "RetryJoinWAN": join.retry_wan,
            "StartJoinAddrsLAN": join.start_lan,
            "StartJoinAddrsWAN": join.start_wan,
        });
        if let Value::Object(rest) = rest {
            pools.extend(rest);
        }
        Value::Object(pools)
    }

    fn debug_dns(&self) -> Value {
        let dns = &self.dns;
        json!({
            "DNSARecordLimit": dns.a_record_limit,
            "DNSAllowStale": dns.allow_stale,
            "DNSAltDomain": dns.alt_domain,
            "DNSCacheMaxAge": time(dns.cache_max_age),
            "DNSDisableCompression": dns.disable_compression,
            "DNSDomain": dns.domain,
            "DNSEnableTruncate": dns.enable_truncate,
            "DNSMaxStale": time(dns.max_stale),
            "DNSNodeMetaTXT": dns.node_meta_txt,
            "DNSNodeTTL": time(dns.node_ttl),
            "DNSOnlyPassing": dns.only_passing,
            "DNSRecursorTimeout": time(dns.recursor_timeout),
            "DNSRecursors": dns.recursors,
            "DNSSOA": {
                "Expire": dns.soa.expire,
                "Minttl": dns.soa.min_ttl,
                "Refresh": dns.soa.refresh,
                "Retry": dns.soa.retry,
            },
            "DNSServiceTTL": dns.service_ttl.iter().map(|(k, v)| (k.clone(), time(*v).into())).collect::<Map<_, _>>(),
            "DNSUDPAnswerLimit": dns.udp_answer_limit,
            "DNSUseCache": dns.use_cache,
        })
    }

    fn debug_http(&self) -> Value {
        let (http, ui) = (&self.http, &self.ui);
        let hidden_header = |name: &String| json!({"Name": name, "Value": HIDDEN});
        let headers: Vec<Value> =
            ui.metrics_proxy_add_headers.iter().map(|(name, _)| hidden_header(name)).collect();
        json!({
            "AllowWriteHTTPFrom": texts(&http.allow_write_from),
            "DisableHTTPUnprintableCharFilter": http.disable_unprintable_char_filter,
            "HTTPBlockEndpoints": http.block_endpoints,
            "HTTPMaxConnsPerClient": self.limits.http_max_conns_per_client,
            "HTTPMaxHeaderBytes": http.max_header_bytes.unwrap_or(0),
            "HTTPResponseHeaders": http.response_headers,
            "HTTPSHandshakeTimeout": time(self.limits.https_handshake_timeout),
            "HTTPUseCache": http.use_cache,
            "KVMaxValueSize": self.limits.kv_max_value_size,
            "RPCHandshakeTimeout": time(self.limits.rpc_handshake_timeout),
            "RPCMaxBurst": self.limits.rpc_max_burst,
            "RPCMaxConnsPerClient": self.limits.rpc_max_conns_per_client,
            // JSON has no infinity; the reference shows "no limit" as -1.
            "RPCRateLimit": if self.limits.rpc_rate.is_finite() { self.limits.rpc_rate } else { -1.0 },
            "TxnMaxReqLen": self.limits.txn_max_req_len,
            "UIConfig": {
                "ContentPath": ui.content_path,
                "DashboardURLTemplates": ui.dashboard_url_templates,
                "Dir": ui.dir,
                "Enabled": ui.enabled,
                "MetricsProvider": ui.metrics_provider,
                "MetricsProviderFiles": ui.metrics_provider_files,
                "MetricsProviderOptionsJSON": ui.metrics_provider_options_json,
                "MetricsProxy": {
                    "AddHeaders": headers,
                    "BaseURL": ui.metrics_proxy_base_url,
                    "PathAllowlist": ui.metrics_proxy_path_allowlist,
                },
            },
        })
    }

    fn debug_security(&self) -> Value {
        let (acl, tls) = (&self.acl, &self.tls);
        json!({
            "ACLAgentMasterToken": HIDDEN,
            "ACLAgentToken": HIDDEN,
            "ACLDatacenter": acl.datacenter,
            "ACLDefaultPolicy": acl.default_policy,
            "ACLDisabledTTL": time(acl.disabled_ttl),
            "ACLDownPolicy": acl.down_policy,
            "ACLEnableKeyListPolicy": acl.enable_key_list_policy,
            "ACLEnableTokenPersistence": acl.enable_token_persistence,
            "ACLMasterToken": HIDDEN,
            "ACLPolicyTTL": time(acl.policy_ttl),
            "ACLReplicationToken": HIDDEN,
            "ACLRoleTTL": time(acl.role_ttl),
            "ACLToken": HIDDEN,
            "ACLTokenReplication": acl.enable_token_replication,
            "ACLTokenTTL": time(acl.token_ttl),
            "ACLTokens": {
                "ACLAgentMasterToken": HIDDEN,
                "ACLAgentToken": HIDDEN,
                "ACLDefaultToken": HIDDEN,
                "ACLReplicationToken": HIDDEN,
                "DataDir": self.data_dir,
                "EnablePersistence": acl.enable_token_persistence,
            },
            "ACLsEnabled": acl.enabled,
            "AutoEncryptAllowTLS": self.auto_encrypt.allow_tls,
            "AutoEncryptDNSSAN": self.auto_encrypt.dns_san,
            "AutoEncryptIPSAN": texts(&self.auto_encrypt.ip_san),
            "AutoEncryptTLS": self.auto_encrypt.tls,
            "CAFile": tls.ca_file,
            "CAPath": tls.ca_path,
            "CertFile": tls.cert_file,
            "EnableAgentTLSForChecks": tls.enable_agent_tls_for_checks,
            "EncryptKey": HIDDEN,
            "EncryptVerifyIncoming": self.encrypt.verify_incoming,
            "EncryptVerifyOutgoing": self.encrypt.verify_outgoing,
            "KeyFile": HIDDEN,
            "ServerName": tls.server_name,
            "TLSCipherSuites": tls.cipher_suites.split(',').filter(|s| !s.is_empty()).collect::<Vec<_>>(),
            "TLSMinVersion": tls.min_version,
            "TLSPreferServerCipherSuites": tls.prefer_server_cipher_suites,
            "VerifyIncoming": tls.verify_incoming,
            "VerifyIncomingHTTPS": tls.verify_incoming_https,
            "VerifyIncomingRPC": tls.verify_incoming_rpc,
            "VerifyOutgoing": tls.verify_outgoing || tls.verify_server_hostname,
            "VerifyServerHostname": tls.verify_server_hostname,
        })
    }

    fn debug_definitions(&self) -> Value {
        let policy = &self.checks_policy;
        json!({
            "AEInterval": time(self.ae_interval),
            "Cache": {
                "EntryFetchMaxBurst": self.cache_entry_fetch_max_burst,
                "EntryFetchRate": self.cache_entry_fetch_rate,
                "Logger": null,
            },
            "CheckDeregisterIntervalMin": time(policy.deregister_interval_min),
            "CheckOutputMaxSize": policy.output_max_size,
            "CheckReapInterval": time(policy.reap_interval),
            "CheckUpdateInterval": time(policy.update_interval),
            "Checks": self.checks.iter().map(shown_check).collect::<Vec<_>>(),
            "ConfigEntryBootstrap": self.config_entries_bootstrap,
            "ConnectCAConfig": {},
            "ConnectCAProvider": self.connect.ca_provider,
            "ConnectEnabled": self.connect.enabled,
            "ConnectMeshGatewayWANFederationEnabled": self.connect.mesh_gateway_wan_federation,
            "ConnectTestCALeafRootChangeSpread": "0s",
            "ConsulCoordinateUpdateBatchSize": self.coordinate_update_batch_size,
            "ConsulCoordinateUpdateMaxBatches": self.coordinate_update_max_batches,
            "ConsulCoordinateUpdatePeriod": time(self.coordinate_update_period),
        })
    }

    fn debug_behaviour(&self) -> Value {
        let (logging, telemetry, policy) = (&self.logging, &self.telemetry, &self.checks_policy);
        json!({
            "DefaultQueryTime": time(self.default_query_time),
            "DisableAnonymousSignature": self.disable_anonymous_signature,
            "DisableCoordinates": self.disable_coordinates,
            "DisableKeyringFile": self.disable_keyring_file,
            "DisableRemoteExec": self.disable_remote_exec,
            "DisableUpdateCheck": self.disable_update_check,
            "DiscardCheckOutput": policy.discard_output,
            "DiscoveryMaxStale": time(self.discovery_max_stale),
            "EnableCentralServiceConfig": self.enable_central_service_config,
            "EnableDebug": self.enable_debug,
            "EnableLocalScriptChecks": policy.enable_local_scripts,
            "EnableRemoteScriptChecks": policy.enable_remote_scripts,
            "LeaveDrainTime": time(self.leave_drain_time),
            "LeaveOnTerm": self.leave_on_terminate,
            "Logging": {
                "EnableSyslog": logging.syslog,
                "LogFilePath": logging.file.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
                "LogJSON": logging.json,
                "LogLevel": logging.level,
                "LogRotateBytes": logging.rotate_bytes,
                "LogRotateDuration": time(logging.rotate_duration),
                "LogRotateMaxFiles": logging.rotate_max_files,
                "Name": "",
                "SyslogFacility": logging.syslog_facility,
            },
            "MaxQueryTime": time(self.max_query_time),
            "RPCConfig": { "EnableStreaming": self.rpc_enable_streaming },
            "RPCHoldTimeout": time(self.rpc_hold_timeout),
            "Services": self.services.iter().map(shown_service).collect::<Vec<_>>(),
            "SessionTTLMin": time(self.session_ttl_min),
            "SkipLeaveOnInt": self.skip_leave_on_interrupt,
            "SyncCoordinateIntervalMin": time(self.sync_coordinate_interval_min),
            "SyncCoordinateRateTarget": self.sync_coordinate_rate_target,
            "Telemetry": {
                "AllowedPrefixes": telemetry.allowed_prefixes,
                "BlockedPrefixes": telemetry.blocked_prefixes,
                "Disable": false,
                "DisableCompatOneNine": telemetry.disable_compat_1_9,
                "DisableHostname": telemetry.disable_hostname,
                "DogstatsdAddr": telemetry.dogstatsd_addr,
                "DogstatsdTags": telemetry.dogstatsd_tags,
                "FilterDefault": telemetry.filter_default,
                "MetricsPrefix": telemetry.metrics_prefix,
                "PrometheusOpts": { "Expiration": time(telemetry.prometheus_retention_time) },
                "StatsdAddr": telemetry.statsd_addr,
                "StatsiteAddr": telemetry.statsite_addr,
            },
            "UseStreamingBackend": self.use_streaming_backend,
            "Watches": self.watches,
        })
    }
}

fn shown_check(definition: &CheckDefinition) -> Value {
    let mut shown = serde_json::to_value(&definition.check).unwrap_or(Value::Null);
    if let Value::Object(map) = &mut shown {
        if let Some(id) = map.remove("CheckID") {
            map.insert("ID".to_owned(), id);
        }
        map.insert("ServiceID".to_owned(), definition.service_id.clone().into());
        map.insert("Token".to_owned(), HIDDEN.into());
    }
    shown
}

fn shown_service(definition: &ServiceDefinition) -> Value {
    let mut shown = serde_json::to_value(definition).unwrap_or(Value::Null);
    if let Value::Object(map) = &mut shown {
        map.insert("Token".to_owned(), HIDDEN.into());
    }
    shown
}

fn gossip_fields(map: &mut Map<String, Value>, suffix: &str, gossip: &Gossip) {
    let fields = [
        ("GossipInterval", Value::from(time(gossip.gossip_interval))),
        ("GossipNodes", gossip.gossip_nodes.into()),
        ("ProbeInterval", time(gossip.probe_interval).into()),
        ("ProbeTimeout", time(gossip.probe_timeout).into()),
        ("SuspicionMult", gossip.suspicion_mult.into()),
        ("RetransmitMult", gossip.retransmit_mult.into()),
    ];
    for (name, value) in fields {
        map.insert(format!("Gossip{suffix}{name}"), value);
    }
}
