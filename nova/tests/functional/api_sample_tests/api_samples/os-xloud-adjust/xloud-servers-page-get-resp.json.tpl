{
    "xloud_servers": [
        {
            "allocated_memory_mb": 2048,
            "allocated_vcpus": 4,
            "boot_memory_mb": 1024,
            "boot_vcpus": 2,
            "condition": "Partial",
            "desired_memory_mb": 2048,
            "desired_vcpus": 4,
            "host": "%(compute_host)s",
            "id": "%(uuid)s",
            "max_memory_mb": 4096,
            "max_vcpus": 8,
            "min_memory_mb": 1024,
            "min_vcpus": 2,
            "name": "web1",
            "project_id": "6f70656e737461636b20342065766572",
            "reason": "The guest holds 4 vCPUs, 2048 MiB and not 2 vCPUs, 1024 MiB. It did not give back memory. It had 300 seconds.",
            "since": "%(isotime)s"
        }
    ],
    "xloud_servers_links": [
        {
            "href": "%(versioned_compute_endpoint)s/os-xloud-adjust?condition=Partial&limit=1&marker=%(uuid)s",
            "rel": "next"
        }
    ]
}
