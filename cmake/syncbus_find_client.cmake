# Finds the C client of a broker and makes the target syncbus::<client>; does nothing when it is not there.
# pkg-config first, then find_path and find_library. The clients' own CMake packages are not used: on Debian 12 those of
# hiredis and cnats stop the configuration, also with QUIET. Installed: the package config uses it too.
function(syncbus_find_client client)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "PKG_CONFIG;HEADER;LIBRARY" "")
  if(TARGET syncbus::${client})
    return()
  endif()

  set(hints "")
  find_package(PkgConfig QUIET)
  if(PKG_CONFIG_FOUND)
    pkg_check_modules(syncbus_${client} QUIET IMPORTED_TARGET GLOBAL ${arg_PKG_CONFIG})
    # HEADER is written with its folder, while some clients' pkg-config files name that folder itself.
    foreach(folder IN LISTS syncbus_${client}_INCLUDE_DIRS)
      list(APPEND hints "${folder}" "${folder}/..")
    endforeach()
  endif()
  find_path(syncbus_${client}_include NAMES ${arg_HEADER} HINTS ${hints})
  mark_as_advanced(syncbus_${client}_include)

  if(TARGET PkgConfig::syncbus_${client})
    set(library PkgConfig::syncbus_${client})
  else()
    find_library(syncbus_${client}_library NAMES ${arg_LIBRARY})
    mark_as_advanced(syncbus_${client}_library)
    set(library "${syncbus_${client}_library}")
  endif()

  if(syncbus_${client}_include AND library)
    # Global, because a project that adds syncbus as a subdirectory links it from another directory.
    add_library(syncbus::${client} INTERFACE IMPORTED GLOBAL)
    target_include_directories(syncbus::${client} INTERFACE "${syncbus_${client}_include}")
    target_link_libraries(syncbus::${client} INTERFACE "${library}")
  endif()
endfunction()
