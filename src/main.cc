// usher: the entry; everything else stands in the cli room.
#include "usher/cli/cli.h"

int main(int argc, char** argv) { return usher::run_command_line(argc, argv); }
