# What `cmake --install` copies: headers, the CMake package, the pkg-config files and the licence.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Nothing here depends on the machine, so the package files go to share/, not to lib/.
set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/syncbus")
set(pkg_config_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")
set(generated "${PROJECT_BINARY_DIR}/package")
get_property(syncbus_components GLOBAL PROPERTY syncbus_components)

# The pkg-config files find their prefix from where they lie, so that an installed tree can be moved.
if(IS_ABSOLUTE "${CMAKE_INSTALL_DATADIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
  set(pc_include "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
else()
  file(RELATIVE_PATH to_prefix "/${pkg_config_dir}" "/")
  set(pc_prefix "\${pcfiledir}/${to_prefix}")
  set(pc_include "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()

install(TARGETS syncbus EXPORT syncbus-targets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT syncbus-targets NAMESPACE syncbus:: DESTINATION "${package_dir}")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/syncbus-config.cmake.in" "${generated}/syncbus-config.cmake"
  INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file("${generated}/syncbus-config-version.cmake"
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
configure_file("${PROJECT_SOURCE_DIR}/cmake/syncbus.pc.in" "${generated}/syncbus.pc" @ONLY)
set(package_files "${generated}/syncbus-config.cmake" "${generated}/syncbus-config-version.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/syncbus_find_client.cmake")
set(pkg_config_files "${generated}/syncbus.pc")

foreach(component IN LISTS syncbus_components)
  # An export set of its own, so that a program asks only for the clients that it uses.
  install(TARGETS syncbus_${component} EXPORT syncbus-${component}-targets
    FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  install(EXPORT syncbus-${component}-targets NAMESPACE syncbus:: DESTINATION "${package_dir}")
  foreach(argument IN ITEMS CLIENT PKG_CONFIG HEADER LIBRARY PACKAGE)
    get_property(${argument} TARGET syncbus_${component} PROPERTY syncbus_${argument})
  endforeach()
  configure_file("${PROJECT_SOURCE_DIR}/cmake/syncbus-component.cmake.in"
    "${generated}/syncbus-${component}.cmake" @ONLY)
  configure_file("${PROJECT_SOURCE_DIR}/cmake/syncbus-component.pc.in" "${generated}/syncbus-${component}.pc" @ONLY)
  list(APPEND package_files "${generated}/syncbus-${component}.cmake")
  list(APPEND pkg_config_files "${generated}/syncbus-${component}.pc")
endforeach()

install(FILES ${package_files} DESTINATION "${package_dir}")
install(FILES ${pkg_config_files} DESTINATION "${pkg_config_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DATADIR}/licenses/syncbus")
