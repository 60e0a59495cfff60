// What the program of direct server return's other end and user space share. Plain C, as path_abi.h, whose addresses it uses.
#pragma once

#include "usher/steer/path_abi.h"

enum { DSR_ADDRESSES_MAX = 256 };

/// What became of packets that had another inside; one counter each.
enum DsrVerdict {
  DSR_TAKEN,         // unwrapped, and on to the stack
  DSR_OTHER_TUNNEL,  // for an address that isn't served here: left as it was
  DSR_REFUSED,       // the kernel didn't take the header off: from one family to the other it can from Linux 6.3 on
  DSR_CONGESTED,     // dropped: marked by a router, and the inner packet's sender doesn't know marks (RFC 6040)
  DSR_VERDICTS,
};
