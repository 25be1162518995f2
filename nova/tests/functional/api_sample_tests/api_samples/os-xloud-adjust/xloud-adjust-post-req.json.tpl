{
    "current_vcpus": 4,
    "current_memory_mb": 4096,
    "persist": true
}
