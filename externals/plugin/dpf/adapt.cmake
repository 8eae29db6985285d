# What DPF 1.6 lacks and its classes give no way to add, put into a copy of two of its files as they are configured: how
# long sound goes on, whether it is rendered or played, numbers as people write them, a latency that is told when the
# format allows it and only when it is another one (VST3 and CLAP), the plugin's version (CLAP). Where DPF has changed, so that a
# place is not found, the file stays as it is there, with a warning.

# ravel_adapt(FILE [WHAT FROM TO]...)
function(ravel_adapt file)
  file(READ ${RAVEL_DPF}/distrho/src/${file} text)
  set(at 1)
  while(at LESS ARGC)
    set(what "${ARGV${at}}")
    math(EXPR from_at "${at} + 1")
    math(EXPR to_at "${at} + 2")
    math(EXPR at "${at} + 3")
    string(FIND "${text}" "${ARGV${from_at}}" place)
    if(place LESS 0)
      message(WARNING "DPF's ${file} has no longer the place for: ${what}")
    else()
      string(REPLACE "${ARGV${from_at}}" "${ARGV${to_at}}" text "${text}")
    endif()
  endwhile()
  file(WRITE ${RAVEL_DPF_ADAPTED}/new/${file} "#include \"dpf/answers.h\"\n${text}")
  configure_file(${RAVEL_DPF_ADAPTED}/new/${file} ${RAVEL_DPF_ADAPTED}/src/${file} COPYONLY)  # if it differs
endfunction()

set(RAVEL_DPF_ADAPTED ${CMAKE_BINARY_DIR}/dpf-adapted CACHE INTERNAL "")
configure_file(${RAVEL_DPF}/distrho/DistrhoPluginMain.cpp ${RAVEL_DPF_ADAPTED}/DistrhoPluginMain.cpp COPYONLY)

ravel_adapt(DistrhoPluginVST3.cpp
  "the tail"
[[    uint32_t getTailSamples() const noexcept
    {
        return 0;]]
[[    uint32_t getTailSamples() const noexcept
    {
        return ravel_tail_samples(fPlugin.getInstancePointer());]]
  "numbers"
[[            snprintf_f32_utf16(output, value, 128);]]
[[            strncpy_utf16(output, RavelNumber(index, value, false).text, 128);]]
  "rendering"
[[        // TODO process_mode can be V3_REALTIME, V3_PREFETCH, V3_OFFLINE]]
[[        ravel_set_offline(fPlugin.getInstancePointer(), setup->process_mode == V3_OFFLINE);]]
  "the new latency"
[[            fLastKnownLatency = latency;
]]
[[            fLastKnownLatency = latency;
            fCachedParameterValues[kVst3InternalParameterLatency] = latency;
]])

ravel_adapt(DistrhoPluginCLAP.cpp
  "the latency, told while being activated"
[[        fPlugin.activate();
    }]]
[[        fPlugin.activate();
        fLatencyChanged = fLatencyChanged || fLastKnownLatency != fPlugin.getLatency();
        fLastKnownLatency = fPlugin.getLatency();
        reportLatencyChangeIfNeeded();
    }

    void* getRavel() const noexcept
    {
        return fPlugin.getInstancePointer();
    }]]
  "the latency, not told while being deactivated"
[[        checkForLatencyChanges(false, true);
        reportLatencyChangeIfNeeded();
]] ""
  "a callback that tries no lock while the interface rests"
[[        if (const clap_output_events_t* const outputEvents = process->out_events)]]
[[        const bool rests = static_cast<const volatile uint&>(fEventQueue.used) == 0;
        if (const clap_output_events_t* const outputEvents = rests ? nullptr : process->out_events)]]
  "hosts without latency"
[[fHostExtensions.latency->changed(fHost);]]
[[if (fHostExtensions.latency != nullptr) fHostExtensions.latency->changed(fHost);]]
  "numbers"
[[            snprintf_f32(display, value, size);]]
[[            DISTRHO_NAMESPACE::strncpy(display, RavelNumber(param_id, value, true).text, size);]]
  "the tail, and rendering"
[[static CLAP_ABI const void* clap_plugin_get_extension(const clap_plugin_t*, const char* const id)
{
]]
[[struct RavelClapTail {
    uint32_t (CLAP_ABI *get)(const clap_plugin_t* plugin);
};

static CLAP_ABI uint32_t ravel_clap_tail_get(const clap_plugin_t* const plugin)
{
    return ravel_tail_samples(static_cast<PluginCLAP*>(plugin->plugin_data)->getRavel());
}

struct RavelClapRender {
    bool (CLAP_ABI *has_hard_realtime_requirement)(const clap_plugin_t* plugin);
    bool (CLAP_ABI *set)(const clap_plugin_t* plugin, int32_t mode);
};

static CLAP_ABI bool ravel_clap_render_hard(const clap_plugin_t*)
{
    return false;
}

static CLAP_ABI bool ravel_clap_render_set(const clap_plugin_t* const plugin, const int32_t mode)
{
    ravel_set_offline(static_cast<PluginCLAP*>(plugin->plugin_data)->getRavel(), mode == 1);
    return true;
}

static CLAP_ABI const void* clap_plugin_get_extension(const clap_plugin_t*, const char* const id)
{
    static const RavelClapTail tail = { ravel_clap_tail_get };
    static const RavelClapRender render = { ravel_clap_render_hard, ravel_clap_render_set };
    if (std::strcmp(id, "clap.tail") == 0)
        return &tail;
    if (std::strcmp(id, "clap.render") == 0)
        return &render;
]]
  "the version"
[[        // TODO version string
        "",]]
[[        RAVEL_VERSION,]])
