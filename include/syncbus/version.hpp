// The version of the library. The inline namespace v1 holds everything, so that two versions can live in one program.
#pragma once

#define SYNCBUS_VERSION_MAJOR 0
#define SYNCBUS_VERSION_MINOR 1
#define SYNCBUS_VERSION_PATCH 0
