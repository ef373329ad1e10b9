# Files that the binary carries: pages, and the API's description. No Python, no shell: two small C programs
# of tools/embed do the work while building.

# Turns files into one C array of struct asset (api/assets.h) and adds it to the layer's library.
#   tidegate_embed(api assets_embedded /demo/=web/demo/index.html ...)   URL=FILE, FILE absolute or from the root
function(tidegate_embed layer name)
  set(out ${CMAKE_BINARY_DIR}/embed/${name}.c)
  set(files)
  foreach(pair ${ARGN})
    string(REGEX REPLACE "^[^=]*=" "" file ${pair})
    list(APPEND files ${file})
  endforeach()
  add_custom_command(OUTPUT ${out} COMMAND embed ${out} ${name} ${ARGN} DEPENDS ${files}
                     WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} VERBATIM
                     COMMENT "Embedding ${name}")
  target_sources(tg_${layer} PRIVATE ${out})
endfunction()

# The URL=FILE pairs of everything below a folder: demo/index.html is /demo/, demo/push.html is /demo/push,
# any other file has its own path.
function(tidegate_web_files out_pairs folder)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${folder}/*)
  set(pairs)
  foreach(file ${files})
    file(RELATIVE_PATH url ${folder} ${file})
    string(REGEX REPLACE "(^|/)index\\.html$" "\\1" url ${url})
    string(REGEX REPLACE "\\.html$" "" url "${url}")
    list(APPEND pairs /${url}=${file})
  endforeach()
  set(${out_pairs} ${pairs} PARENT_SCOPE)
endfunction()

# Makes a JSON file of a YAML one.
function(tidegate_yaml_to_json yaml json)
  get_filename_component(folder ${json} DIRECTORY)
  file(MAKE_DIRECTORY ${folder})
  add_custom_command(OUTPUT ${json} COMMAND yaml_to_json ${yaml} ${json} DEPENDS ${yaml} VERBATIM
                     COMMENT "Converting ${yaml}")
endfunction()
