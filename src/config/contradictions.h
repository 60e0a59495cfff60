// Contradictions: settings that are well formed each, and make no sense together. Warnings, all of them.
#pragma once

#include "config/document.h"
#include "config/report.h"
#include "usher/config/config.h"

namespace usher {

/// `table` is where the struct was read from, and says where things stand.
void warn_contradictions(const Node& table, const AdminConfig& admin, Report& report);
void warn_contradictions(const Node& table, const ListenerConfig& listener, const GlobalConfig& global, Report& report);
void warn_contradictions(const Node& table, const PoolConfig& pool, Report& report);

}  // namespace usher
