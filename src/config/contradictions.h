// Contradictions: settings that are well formed each, and make no sense together. Warnings mostly.
#pragma once

#include "config/document.h"
#include "config/report.h"
#include "usher/config/config.h"

namespace usher {

/// `table` is where the struct was read from, and says where things stand.
void warn_contradictions(const Node& table, const AdminConfig& admin, Report& report);
void warn_contradictions(const Node& table, const ListenerConfig& listener, const GlobalConfig& global, Report& report);
void warn_contradictions(const Node& table, const PoolConfig& pool, Report& report);
/// An error where a listener insists on the kernel datapath, and asks for what only the proxy does.
void refuse_contradictions(const Node& table, const ListenerConfig& listener, const PoolConfig& pool, Report& report);

}  // namespace usher
