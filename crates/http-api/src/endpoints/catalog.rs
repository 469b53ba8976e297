//! `/v1/catalog`.

use std::sync::Arc;

use model::catalog::{DatacentersRequest, DeregisterRequest, RegisterRequest};
use model::method::Method;
use model::methods::{
    CatalogDeregister, CatalogListDatacenters, CatalogListNodes, CatalogListServices, CatalogNodeServiceList,
    CatalogNodeServices, CatalogRegister, CatalogServiceNodes,
};
use model::options::{DcSpecificRequest, NodeSpecificRequest, ServiceSpecificRequest};

use super::fetch::{Fetched, failed_read, read, read_cached, tell_freshness, told};
use crate::api::error::ApiError;
use crate::decode;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::options::{self, ReadOptions, level};
use crate::face::reply::Reply;
use crate::face::route::Answer;
use crate::json::{self, Empties, Object, key};
use crate::translate;
use cache::CacheKind;

/// `PUT /v1/catalog/register`. The body's datacenter routes it.
pub fn register(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let mut args: RegisterRequest = decode::strict(&call.take_body().await?)?;
        complete(face, &call, &mut args.datacenter, &mut args.token);
        write::<CatalogRegister>(face, args).await
    })
}

/// `PUT /v1/catalog/deregister`. The body's datacenter routes it.
pub fn deregister(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let mut args: DeregisterRequest = decode::strict(&call.take_body().await?)?;
        complete(face, &call, &mut args.datacenter, &mut args.token);
        write::<CatalogDeregister>(face, args).await
    })
}

fn complete(face: &Face, call: &Call, datacenter: &mut String, token: &mut String) {
    if datacenter.is_empty() {
        face.agent.local_datacenter().clone_into(datacenter);
    }
    *token = options::token(face, call);
}

async fn write<M: Method>(face: &Face, args: M::Args) -> Result<Reply, ApiError> {
    face.road.call::<M>(args).await?;
    Ok(Reply::json("true"))
}

/// `GET /v1/catalog/datacenters`: the names, nearest first.
pub fn datacenters(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { query, .. } = options::read(face, &call)?;
        if query.use_cache {
            let args = DatacentersRequest { options: query };
            let (names, freshness) =
                face.cache.get::<CatalogListDatacenters>(args, CacheKind::Simple).await?;
            let mut reply = Reply::serde(&*names);
            tell_freshness(&mut reply, freshness);
            return Ok(reply);
        }
        let names = face.road.call::<CatalogListDatacenters>(DatacentersRequest { options: query }).await?;
        Ok(Reply::serde(&names))
    })
}

/// `GET /v1/catalog/nodes`.
pub fn nodes(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let level = level(&query);
        let args = DcSpecificRequest {
            node_meta_filters: options::node_meta(&call),
            source: options::source(face, &call, &datacenter),
            options: query,
            datacenter,
        };
        let far = is_far(face, &call, &args.datacenter);
        let mut fetched = match read::<CatalogListNodes>(face, args).await {
            Ok(reply) => Fetched::Owned(reply),
            Err(error) => return Ok(failed_read(error)),
        };
        if far {
            fetched.to_mut().nodes.iter_mut().for_each(translate::node);
        }
        let body = face.encoded.get(fetched.nodes.iter(), || {
            let mut out = Vec::with_capacity(64 + fetched.nodes.len() * 384);
            json::array(&mut out, &fetched.nodes, |out, node| json::node(out, node));
            out
        });
        Ok(told(Reply::json(body), &fetched, level))
    })
}

/// `GET /v1/catalog/services`.
pub fn services(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, mut query } = options::read(face, &call)?;
        // The map of names has no filter.
        query.filter.clear();
        let level = level(&query);
        let args = DcSpecificRequest {
            node_meta_filters: options::node_meta(&call),
            options: query,
            datacenter,
            ..DcSpecificRequest::default()
        };
        let fetched = match read_cached::<CatalogListServices>(face, args, CacheKind::Refreshed).await {
            Ok(fetched) => fetched,
            Err(error) => return Ok(failed_read(error)),
        };
        let reply = Reply::write(64 + fetched.services.len() * 32, |out| {
            json::services_map(out, &fetched.services);
        });
        Ok(told(reply, &fetched, level))
    })
}

/// `GET /v1/catalog/service/<name>`.
pub fn service_nodes(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(instances(face, call, false))
}

/// `GET /v1/catalog/connect/<name>`: the proxies of a service and its native instances.
pub fn connect_nodes(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(instances(face, call, true))
}

async fn instances(face: &Face, call: Call, connect: bool) -> Result<Reply, ApiError> {
    let ReadOptions { datacenter, query } = options::read(face, &call)?;
    let level = level(&query);
    let args = service_request(face, &call, datacenter, query, connect)?;
    let far = is_far(face, &call, &args.datacenter);
    let mut fetched = match read_cached::<CatalogServiceNodes>(face, args, CacheKind::Refreshed).await {
        Ok(fetched) => fetched,
        Err(error) => return Ok(failed_read(error)),
    };
    if far {
        fetched.to_mut().service_nodes.iter_mut().for_each(translate::service_node);
    }
    let reply = Reply::write(64 + fetched.service_nodes.len() * 768, |out| {
        json::array(out, &fetched.service_nodes, json::service_node);
    });
    Ok(told(reply, &fetched, level))
}

/// The arguments of a read of one service.
///
/// # Errors
/// 400 when the path names no service.
pub fn service_request(
    face: &Face,
    call: &Call,
    datacenter: String,
    query: model::options::QueryOptions,
    connect: bool,
) -> Result<ServiceSpecificRequest, ApiError> {
    let service_name = call.rest().to_owned();
    if service_name.is_empty() {
        return Err(ApiError::bad_request("Missing service name"));
    }
    let service_tags: Vec<String> = call.params.all("tag").map(str::to_owned).collect();
    Ok(ServiceSpecificRequest {
        connect,
        node_meta_filters: options::node_meta(call),
        source: options::source(face, call, &datacenter),
        datacenter,
        service_name,
        tag_filter: !service_tags.is_empty(),
        service_tags,
        options: query,
        ..ServiceSpecificRequest::default()
    })
}

/// Whether addresses of an answer from a datacenter are to be translated.
pub fn is_far(face: &Face, call: &Call, datacenter: &str) -> bool {
    call.config.translate_wan_addrs && datacenter != face.agent.local_datacenter()
}

fn node_request(face: &Face, call: &Call) -> Result<(NodeSpecificRequest, &'static str), ApiError> {
    let ReadOptions { datacenter, query } = options::read(face, call)?;
    let node = call.rest().to_owned();
    if node.is_empty() {
        return Err(ApiError::bad_request("Missing node name"));
    }
    let level = level(&query);
    Ok((NodeSpecificRequest { datacenter, node, options: query }, level))
}

/// `GET /v1/catalog/node/<name>`: the node and the map of its services.
pub fn node_services(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let (args, level) = node_request(face, &call)?;
        let far = is_far(face, &call, &args.datacenter);
        let mut fetched = match read::<CatalogNodeServices>(face, args).await {
            Ok(reply) => Fetched::Owned(reply),
            Err(error) => return Ok(failed_read(error)),
        };
        if far && let Some(known) = &mut fetched.to_mut().node_services {
            known.node.iter_mut().for_each(translate::node);
            known.services.values_mut().for_each(translate::service);
        }
        let reply = Reply::write(1024, |out| {
            let Some((node, known)) =
                fetched.node_services.as_ref().and_then(|known| Some((known.node.as_ref()?, known)))
            else {
                return json::null(out);
            };
            let mut object = Object::new(out);
            json::node(object.key(key!("Node")), node);
            let mut services = Object::new(object.key(key!("Services")));
            for (id, service) in &known.services {
                json::node_service(services.dynamic_key(id), service, Empties::Lists);
            }
            services.end();
            object.end();
        });
        Ok(told(reply, &fetched, level))
    })
}

/// `GET /v1/catalog/node-services/<name>`: the node and the list of its services.
pub fn node_service_list(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let (args, level) = node_request(face, &call)?;
        let far = is_far(face, &call, &args.datacenter);
        let filtered = !args.options.filter.is_empty();
        let mut fetched = match read::<CatalogNodeServiceList>(face, args).await {
            Ok(reply) => Fetched::Owned(reply),
            Err(error) => return Ok(failed_read(error)),
        };
        if far {
            let known = &mut fetched.to_mut().node_services;
            known.node.iter_mut().for_each(translate::node);
            known.services.iter_mut().for_each(translate::service);
        }
        let reply = Reply::write(1024, |out| {
            let known = &fetched.node_services;
            let mut object = Object::new(out);
            match &known.node {
                Some(node) => json::node(object.key(key!("Node")), node),
                None => json::null(object.key(key!("Node"))),
            }
            let services = object.key(key!("Services"));
            if known.services.is_empty() && !(filtered && known.node.is_some()) {
                json::null(services);
            } else {
                json::array(services, &known.services, |out, service: &Arc<_>| {
                    json::node_service(out, service, Empties::Lists);
                });
            }
            object.end();
        });
        Ok(told(reply, &fetched, level))
    })
}
