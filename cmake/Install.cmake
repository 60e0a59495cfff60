# Where things go on a Linux machine. The binary itself is installed by src/CMakeLists.txt.
#
# /usr and /usr/local share the machine's /etc; any other prefix has an etc of its own. Paths that stand in the unit are
# those of the prefix, known only when `cmake --install` runs: hence the code below rather than plain rules.

install(FILES conf/usher.sysusers DESTINATION lib/sysusers.d RENAME usher.conf)
install(FILES conf/completion/usher.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME usher)
install(FILES conf/completion/usher.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES conf/completion/usher-bench.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME usher-bench)
install(FILES conf/completion/usher-bench.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES conf/man/usher-bench.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES conf/man/usher.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
install(FILES conf/man/usher.toml.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES conf/usher.toml DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(FILES conf/usher.service.d/kernel.conf DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples/usher.service.d)
install(DIRECTORY conf/examples/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples FILES_MATCHING PATTERN "*.toml")

set(usher_install_unit ${CMAKE_SOURCE_DIR}/conf/usher.service)
set(usher_install_config ${CMAKE_SOURCE_DIR}/conf/usher.toml)
configure_file(cmake/InstallPlaces.cmake.in ${CMAKE_BINARY_DIR}/InstallPlaces.cmake @ONLY)
install(SCRIPT ${CMAKE_BINARY_DIR}/InstallPlaces.cmake)
